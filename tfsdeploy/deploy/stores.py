"""What deploying asks of a model store: the committed versions, their records, and what their SavedModels say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from tfsdeploy.store.gc import Row, collect
from tfsdeploy.store.golden import Golden, golden_of
from tfsdeploy.store.record import Record
from tfsdeploy.store.refs import Numbers, held
from tfsdeploy.store.savedmodel import SavedModelInfo
from tfsdeploy.store.store import open_store
from tfsdeploy.store.tree import Progress


class StoredModels:
    """The models of one store; opening it touches nothing.

    Args:
        url: of the store.
        options: how it is reached, and whose signatures are asked for.
    """

    def __init__(self, url: str, options: Mapping[str, object] | None = None) -> None:
        self.options = options or {}
        self.store = open_store(url, options)

    @property
    def url(self) -> str:
        """Of the store."""
        return self.store.url

    def models(self) -> list[str]:
        """The names of the models that have a folder, sorted."""
        return self.store.models()

    def uncommitted(self, model: str) -> list[int]:
        """The numbers of folders without a commit record, ascending."""
        return self.store.uncommitted(model)

    def newest(self, model: str) -> int | None:
        """The highest committed version; None if there is none."""
        return self.store.newest(model)

    def versions(self, model: str) -> tuple[int, ...]:
        """The committed versions, lowest first."""
        return tuple(self.store.versions(model))

    def record(self, model: str, version: int) -> Record | None:
        """A version's commit record; None if it is not committed."""
        return self.store.record(model, version)

    def digest(self, model: str, version: int) -> str | None:
        """The digest of a version's commit record; None if it is not committed."""
        record = self.record(model, version)
        return None if record is None else record.digest

    def inspect(self, model: str, version: int) -> SavedModelInfo:
        """What a version's SavedModel says of itself.

        Raises:
            UsageError: it is no sound SavedModel.
        """
        return self.store.describe(model, version)

    def golden(self, record: Record) -> tuple[Golden, ...]:
        """A version's golden requests; empty if it has none.

        Raises:
            UsageError: they cannot be understood.
            Damaged: their bytes are not those of the commit record.
        """
        return golden_of(self.store, record)

    def collect(self, models: Sequence[str], *, keep: int, act: bool, also: Numbers) -> Iterator[Row]:
        """See `tfsdeploy.store.gc.collect`; now is by this machine's clock, or the store's if that is earlier.

        What would be done is told by the same, except in an object store, whose clock cannot be known without writing
        there: it lets in nobody whose own is off by more than a quarter of an hour.
        """
        # Unsigned versions are versions too, when it comes to letting go of them.
        store = open_store(self.url, {**self.options, "require_signature": None})
        at = datetime.now(UTC)
        # The store's clock has dated what came there: to one that is days ahead of it, all of that is old.
        at = min(at, store.notes.now() if act else store.notes.glimpse() or at)
        return collect(store, models, keep=keep, at=at, act=act, also=also)

    def held(self) -> dict[str, dict[str, set[int]]]:
        """What fleets need, by fleet and model, as they have left word."""
        return held(self.store.notes)

    def verify(self, model: str, version: int, progress: Progress) -> int:
        """Read every byte of a version; how many there are.

        Raises:
            Damaged: they are not those of its commit record.
            InvalidRecord: the record itself is damaged.
            TfsdeployError: it cannot be read.
        """
        record = self.record(model, version)
        if record is None:
            # It was removed since it was listed.
            return 0
        self.store.verify(record, progress)
        return record.bytes

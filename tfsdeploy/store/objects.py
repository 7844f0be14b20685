"""A store that is a bucket, or a prefix in one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import RECORD_FILE, is_model_name, parse_version
from tfsdeploy.store.answers import StoreError, Taken
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.claim import CLAIM_FILE, RESERVATION_BYTES
from tfsdeploy.store.hold import acquire, put_own
from tfsdeploy.store.notes import BucketNotes
from tfsdeploy.store.origin import Origin
from tfsdeploy.store.record import LARGEST, File, Record, decode_as, encode
from tfsdeploy.store.said import NOTHING, Said
from tfsdeploy.store.savedmodel import SavedModelInfo
from tfsdeploy.store.store import true_content, trusted
from tfsdeploy.store.tree import Progress, silent
from tfsdeploy.store.upload import read_dated

_ATTEMPTS = 10
_AT_ONCE = 100


class ObjectStore:
    """Models in an object store.

    Args:
        bucket: what holds them.
        trusted: public keys, one of which must have signed a record; empty: none has to.
    """

    def __init__(self, bucket: Bucket, trusted: Collection[str] = ()) -> None:
        self.bucket = bucket
        self.trusted = trusted
        self.url = bucket.url

    def check_there(self) -> None:
        """See `Store.check_there`."""
        next(iter(self.bucket.folders()), None)

    def models(self) -> list[str]:
        """See `Store.models`."""
        return sorted(name for name in self.bucket.folders() if is_model_name(name))

    def versions(self, model_name: str) -> list[int]:
        """See `Store.versions`: from one listing, however many there are."""
        return sorted(number for number, committed in self._numbers(model_name).items() if committed)

    def uncommitted(self, model_name: str) -> list[int]:
        """See `Store.uncommitted`."""
        return sorted(number for number, committed in self._numbers(model_name).items() if not committed)

    def newest(self, model_name: str) -> int | None:
        """See `Store.newest`."""
        numbers = sorted(n for name in self.bucket.folders(_checked(model_name)) if (n := parse_version(name)))
        for number in reversed(numbers):
            found = self.bucket.stat(f"{model_name}/{number}/{RECORD_FILE}")
            if found is not None and found.size > RESERVATION_BYTES:
                return number
        return None

    def record(self, model_name: str, version: int) -> Record | None:
        """See `Store.record`."""
        found = self.dated(model_name, version)
        return None if found is None else found[0]

    def dated(self, model_name: str, version: int) -> tuple[Record, datetime] | None:
        """See `Store.dated`."""
        found = read_dated(self.bucket, _checked(model_name), version)
        return None if found is None else (trusted(found[0], self.trusted), found[1])

    def describe(self, model_name: str, version: int) -> SavedModelInfo:
        """See `Store.describe`."""
        from tfsdeploy.store.skeleton import describe

        record = self.record(model_name, version)
        if record is None:
            raise StoreError("it is gone", where=self.bucket.where(f"{model_name}/{version}"))
        return describe(self.bucket, f"{model_name}/{version}", record.files)

    def content(self, record: Record, file: File) -> bytes:
        """See `Store.content`."""
        key = f"{record.model}/{record.version}/{file.path}"
        content = self.bucket.get(key)
        if content is None:
            raise StoreError("it is gone", where=self.bucket.where(key))
        return true_content(content, record, file)

    def verify(self, record: Record, progress: Progress = silent) -> None:
        """See `Store.verify`."""
        from tfsdeploy.store.rehash import verify

        verify(self.bucket, record, progress)

    def publish(
        self,
        model_name: str,
        source: Path | Origin,
        version: int | None,
        progress: Progress = silent,
        *,
        above: int = 0,
        said: Said = NOTHING,
    ) -> tuple[Record, bool]:
        """See `Store.publish`."""
        from tfsdeploy.store.upload import publish

        return publish(self.bucket, _checked(model_name), source, version, progress, above=above, said=said)

    def adopt(
        self, model_name: str, version: int, progress: Progress = silent, *, said: Said = NOTHING
    ) -> tuple[Record, bool]:
        """See `Store.adopt`."""
        from tfsdeploy.store.adoption import adopt

        return adopt(self.bucket, _checked(model_name), version, progress, said=said)

    def sign(self, model_name: str, version: int, sign: Callable[[Record], Record]) -> Record:
        """See `Store.sign`."""
        key = f"{_checked(model_name)}/{version}/{RECORD_FILE}"
        for _ in range(_ATTEMPTS):
            found = self.bucket.get_with_stat(key, LARGEST)
            if found is None or len(found[0]) <= RESERVATION_BYTES:
                raise UsageError("there is no such version", where=self.bucket.where(key))
            record = sign(decode_as(found[0], model_name, version, self.bucket.where(key)))
            with suppress(Taken):
                put_own(self.bucket, key, encode(record).encode(), replaces=found[1].etag)
                return record
        raise Busy("others changed the commit record meanwhile", where=self.bucket.where(key), hint="run this again")

    @property
    def notes(self) -> BucketNotes:
        """See `Store.notes`."""
        return BucketNotes(self.bucket)

    def discard(self, model_name: str, version: int) -> None:
        """See `Store.discard`; the number is claimed meanwhile."""
        folder = f"{_checked(model_name)}/{version}"
        claim = f"{folder}/{CLAIM_FILE}"
        hold = acquire(self.bucket, folder, "gc")
        try:
            self.bucket.delete([f"{folder}/{RECORD_FILE}"])
            keys = [entry.key for entry in self.bucket.list(folder) if entry.key != claim]
            for start in range(0, len(keys), _AT_ONCE):
                hold.check()
                self.bucket.delete(keys[start : start + _AT_ONCE])
            hold.let_go()
            self.bucket.delete([claim])
        except BaseException:
            hold.let_go()
            with suppress(TfsdeployError):
                hold.beat(released=True)
            raise

    def _numbers(self, model_name: str) -> dict[int, bool]:
        """Every number that has objects, and whether it has a commit record."""
        found: dict[int, bool] = {}
        start = len(_checked(model_name)) + 1
        for entry in self.bucket.list(model_name):
            name, _, file = entry.key[start:].partition("/")
            if file and (number := parse_version(name)):
                committed = file == RECORD_FILE and entry.size > RESERVATION_BYTES
                found[number] = found.get(number, False) or committed
        return found


def _checked(model_name: str) -> str:
    if not is_model_name(model_name):
        raise UsageError(f"{model_name!r} is not a model name", hint="letters, digits, _ and -, at most 63 characters")
    return model_name

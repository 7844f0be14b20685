"""A store that is a bucket, or a prefix in one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.names import RECORD_FILE, is_model_name, parse_version
from tfsdeploy.store.answers import StoreError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.claim import CLAIM_FILE, RESERVATION_BYTES
from tfsdeploy.store.hold import acquire
from tfsdeploy.store.notes import BucketNotes
from tfsdeploy.store.record import Record
from tfsdeploy.store.savedmodel import SavedModelInfo
from tfsdeploy.store.tree import Progress, silent
from tfsdeploy.store.upload import read_record


class ObjectStore:
    """Models in an object store.

    Args:
        bucket: what holds them.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
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
        """See `Store.record`; raises InvalidRecord for nonsense, and for the record of another version."""
        return read_record(self.bucket, _checked(model_name), version)

    def describe(self, model_name: str, version: int) -> SavedModelInfo:
        """See `Store.describe`."""
        from tfsdeploy.store.skeleton import describe

        record = self.record(model_name, version)
        if record is None:
            raise StoreError("it is gone", where=self.bucket.where(f"{model_name}/{version}"))
        return describe(self.bucket, f"{model_name}/{version}", record.files)

    def verify(self, record: Record, progress: Progress = silent) -> None:
        """See `Store.verify`."""
        from tfsdeploy.store.rehash import verify

        verify(self.bucket, record, progress)

    def publish(
        self,
        model_name: str,
        source: Path,
        version: int | None,
        progress: Progress = silent,
        *,
        above: int = 0,
        like: Record | None = None,
    ) -> tuple[Record, bool]:
        """See `Store.publish`."""
        from tfsdeploy.store.upload import publish

        return publish(self.bucket, _checked(model_name), source, version, progress, above=above, like=like)

    def adopt(self, model_name: str, version: int, progress: Progress = silent) -> tuple[Record, bool]:
        """See `Store.adopt`."""
        from tfsdeploy.store.adoption import adopt

        return adopt(self.bucket, _checked(model_name), version, progress)

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
            for entry in self.bucket.list(folder):
                hold.check()
                if entry.key != claim:
                    self.bucket.delete([entry.key])
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

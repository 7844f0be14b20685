"""Publish a SavedModel to an object store: a claim, the files, and the commit record last of all.

No object is ever deleted here but the claim, and none replaced that could be another publisher's: what an interrupted
push left and the record does not name stays, and means nothing.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import RECORD_FILE, parse_version
from tfsdeploy.store.answers import StoreAway, Taken
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.claim import CLAIM_FILE, RESERVATION_BYTES
from tfsdeploy.store.hold import Hold, acquire, put_own, resumable
from tfsdeploy.store.origin import Folder, Origin
from tfsdeploy.store.record import LARGEST, Record, decode_as, digest_of, encode
from tfsdeploy.store.said import NOTHING, Said
from tfsdeploy.store.source import (
    ATTEMPTS,
    check_no_alias,
    check_number,
    disk,
    new_record,
    next_number,
    same_or_busy,
)
from tfsdeploy.store.tree import Progress, silent


def read_record(bucket: Bucket, model_name: str, version: int) -> Record | None:
    """A version's commit record; None if there is none.

    Raises:
        InvalidRecord: nonsense, or the record of another version.
    """
    found = read_dated(bucket, model_name, version)
    return None if found is None else found[0]


def read_dated(bucket: Bucket, model_name: str, version: int) -> tuple[Record, datetime] | None:
    """A version's commit record, and when it was written by the store's clock; as for `read_record`."""
    key = f"{model_name}/{version}/{RECORD_FILE}"
    found = bucket.get_with_stat(key, LARGEST)
    if found is None or len(found[0]) <= RESERVATION_BYTES:
        return None
    content, entry = found
    return decode_as(content, model_name, version, bucket.where(key)), entry.modified


def publish(
    bucket: Bucket,
    model_name: str,
    source: Path | Origin,
    version: int | None,
    progress: Progress = silent,
    *,
    above: int = 0,
    said: Said = NOTHING,
) -> tuple[Record, bool]:
    """Send a SavedModel to the store as a new version; continues one that was interrupted.

    Args:
        bucket: the store.
        model_name: the model.
        source: the SavedModel's folder, or where else its files come from.
        version: its number; None for the next free one, or for that of an interrupted push of the same user and files.
        progress: hears how many bytes are there.
        above: the next free number is higher than this.
        said: what stands in its record beside the files.

    Returns:
        The commit record, and whether it was there before with the same bytes.

    Raises:
        UsageError: the source is no complete SavedModel, or the number is none.
        Busy: the number is taken by other bytes, or another publisher has it; says who.
        TfsdeployError: the store refuses, or the source changed. What was sent helps the next attempt only.
    """
    if version is not None:
        check_number(version)
    where = source if isinstance(source, Path) else Path()
    with disk(where, "nothing was published"):
        origin = Folder(source) if isinstance(source, Path) else source
        if CLAIM_FILE in origin.sizes:
            hint = "remove it: a folder that was copied out of an object store may hold one"
            raise UsageError(f"it has a file {CLAIM_FILE}, as this store calls its own", where=str(where), hint=hint)
        attempt = _Attempt(bucket, model_name, origin, progress, said)
        names = list(bucket.folders(model_name))
        if version is None:
            return attempt.publish_next(names, above)
        check_no_alias(names, version, bucket.where(model_name))
        return attempt.publish(version)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One call of `publish`."""

    bucket: Bucket
    model: str
    source: Origin
    progress: Progress
    said: Said

    def publish_next(self, names: list[str], above: int) -> tuple[Record, bool]:
        listing = self._listing()
        number = next_number(names, above, self.bucket.where(self.model))
        highest = max((v for name in names if (v := parse_version(name))), default=0)
        if highest > above and resumable(self.bucket, f"{self.model}/{highest}", listing):
            if there := self._committed_before(highest):
                return there, True
            number = highest
        for candidate in range(number, number + ATTEMPTS):
            check_number(candidate)
            try:
                hold = acquire(self.bucket, f"{self.model}/{candidate}", listing)
                return self._publish(candidate, hold), False
            except (_Occupied, Busy):
                continue
        raise Busy(f"{ATTEMPTS} numbers in a row were taken by others meanwhile", where=self.model)

    def publish(self, version: int) -> tuple[Record, bool]:
        there = read_record(self.bucket, self.model, version)
        if there is None:
            try:
                hold = acquire(self.bucket, f"{self.model}/{version}", self._listing())
                return self._publish(version, hold), False
            except _Occupied as occupied:
                there = occupied.record
        if there is None:
            raise Busy(
                "this number is taken by files without a commit record",
                where=f"{self.model}/{version}",
                hint=f"`tfsdeploy adopt {self.model} {version}` gives it one; or leave out --version",
            )
        return same_or_busy(there, self._digest()), True

    def _committed_before(self, version: int) -> Record | None:
        """The record of these bytes, if their push was interrupted between its commit and the end of its claim."""
        there = read_record(self.bucket, self.model, version)
        if there is None or there.digest != self._digest():
            return None
        self._unclaim(version)
        return there

    def _publish(self, version: int, hold: Hold) -> Record:
        """Fill a number that is claimed; gives the claim up if that fails."""
        folder = f"{self.model}/{version}"
        try:
            self._check_free(version, hold)
            files = self.source.send(self.bucket, folder, hold, self.progress)
            self.source.check_unchanged()
            record = new_record(self.model, version, files, self.source.info, self.said)
            # Right before the end once more: is it still ours, and so are the files?
            hold.beat()
            self._check_files(folder, hold)
            hold.check()
            self._commit(record, hold)
        except _Occupied:
            hold.let_go()
            self._unclaim(version)
            raise
        except BaseException:
            hold.let_go()
            with suppress(TfsdeployError):
                hold.beat(released=True)
            raise
        hold.let_go()
        self._unclaim(version)
        return record

    def _check_free(self, version: int, hold: Hold) -> None:
        # Somebody may have finished, and removed the claim, since it was asked for.
        if record := read_record(self.bucket, self.model, version):
            raise _Occupied(record)
        if hold.reservation is None:
            folder = f"{self.model}/{version}"
            if any(entry.key != f"{folder}/{CLAIM_FILE}" for entry in self.bucket.list(folder)):
                raise _Occupied(None)

    def _check_files(self, folder: str, hold: Hold) -> None:
        there = {entry.key: entry for entry in self.bucket.list(folder)}
        for name in self.source.sizes:
            entry, sent = there.get(f"{folder}/{name}"), hold.sent[name]
            if entry is None or entry.size != sent.file.size or not sent.is_tag(entry.etag):
                # If the claim is lost, that is why.
                hold.beat()
                raise TfsdeployError(
                    "the store does not hold what was sent to it; nothing was published",
                    where=self.bucket.where(f"{folder}/{name}"),
                    hint="the store is broken, or another tool writes there; run this again",
                )

    def _commit(self, record: Record, hold: Hold) -> None:
        key = f"{self.model}/{record.version}/{RECORD_FILE}"
        reservation = hold.reservation
        try:
            put_own(self.bucket, key, encode(record).encode(), create=reservation is None, replaces=reservation)
        except Taken as error:
            there = read_record(self.bucket, self.model, record.version)
            if there is None:
                raise hold.gone("its claim was taken over") from error
            raise Busy(
                f"this number was taken meanwhile: {there.by} published it at {there.committed}",
                where=f"{self.model}/{record.version}",
                hint="run this again to see whether it has the same bytes",
            ) from error
        except StoreAway as error:
            raise StoreAway(
                f"{error.message}; whether version {record.version} is published is not known",
                where=error.where,
                hint=f"run this again with --version {record.version}, which finishes it or finds it done",
            ) from error

    def _unclaim(self, version: int) -> None:
        with suppress(TfsdeployError):
            # Beside a record, or files of others, a claim has no meaning any more.
            self.bucket.delete([f"{self.model}/{version}/{CLAIM_FILE}"])

    def _digest(self) -> str:
        digest = digest_of(self.source.hashed(self.progress))
        self.source.check_unchanged()
        return digest

    def _listing(self) -> str:
        sizes = list(self.source.sizes.items())
        return hashlib.sha256(repr(sizes).encode("utf-8", "surrogateescape")).hexdigest()


class _Occupied(Exception):
    """The number is taken: by a version with this record, or by files without any."""

    def __init__(self, record: Record | None) -> None:
        super().__init__()
        self.record = record

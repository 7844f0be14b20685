"""A version whose files are in an object store already: copied by the store itself, or sent on from another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.answers import StoreAway, StoreError
from tfsdeploy.store.bucket import Bucket, Entry
from tfsdeploy.store.claim import CLAIM_FILE, RESERVATION_BYTES, Sent
from tfsdeploy.store.hold import Hold
from tfsdeploy.store.listing import files_below
from tfsdeploy.store.record import LARGEST, File, Record, decode, digest_of
from tfsdeploy.store.rehash import hash_new_object, hash_object, hash_objects, pieces
from tfsdeploy.store.sending import part_bytes, send
from tfsdeploy.store.several import Count, several
from tfsdeploy.store.skeleton import describe
from tfsdeploy.store.tree import Progress
from tfsdeploy.store.verify import Damaged

COPY_BYTES = 5 << 30
"""The largest object that S3 copies in one request; larger ones pass through here."""


class Prefix:
    """A SavedModel below a prefix of a bucket.

    Args:
        bucket: has the files, and is seen from its root.
        prefix: of the files, seen from the root; may be a version's.
        root: if it is the store's own bucket, the store's prefix in it, empty if it is the whole bucket; None if the
            store is elsewhere.

    Raises:
        UsageError: there is no complete SavedModel.
        StoreError: it cannot be read.
    """

    def __init__(self, bucket: Bucket, prefix: str, root: str | None) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._root = root
        self.entries = self._listed()
        if not self.entries:
            raise UsageError("there is nothing", where=bucket.where(prefix), hint="name the folder of a SavedModel")
        self._record = self._taken_record()
        files = [File(name, entry.size, "") for name, entry in self.entries.items()]
        self.info = describe(bucket, prefix, files)
        self.sizes: Mapping[str, int] = {name: entry.size for name, entry in self.entries.items()}

    def hashed(self, progress: Progress) -> tuple[File, ...]:
        """See `tfsdeploy.store.origin.Origin.hashed`."""
        return hash_objects(self._bucket, self.entries, progress)

    def send(self, bucket: Bucket, folder: str, hold: Hold, progress: Progress) -> tuple[File, ...]:
        """See `tfsdeploy.store.origin.Origin.send`."""
        if self._root is None:
            contents = {name: _Object(self._bucket, entry, hold.check) for name, entry in self.entries.items()}
            files = send(bucket, folder, contents, hold, progress)
        else:
            files = self._copy_all(f"{self._root}/{folder}".lstrip("/"), hold, progress)
        self.check_true(files)
        return files

    def _copy_all(self, target: str, hold: Hold, progress: Progress) -> tuple[File, ...]:
        there = {entry.key: entry for entry in self._bucket.list(target)}

        def copy(item: tuple[str, Entry], count: Count) -> File:
            name, entry = item
            key = f"{target}/{name}"
            sent = self._kept(name, entry, there.get(key), hold, count) or self._copied(name, entry, key, hold, count)
            hold.add(sent)
            return sent.file

        # Large ones first, so that the last one does not keep all waiting.
        items = sorted(self.entries.items(), key=lambda item: -item[1].size)
        return tuple(sorted(several(copy, items, sum(self.sizes.values()), progress)))

    def check_true(self, files: tuple[File, ...]) -> None:
        """Refuse bytes that are not those of the commit record, if what is copied is a version.

        Raises:
            Damaged: they are others.
        """
        if self._record is not None and digest_of(files) != self._record.digest:
            name = f"{self._record.model}/{self._record.version}"
            raise Damaged(f"{name} has other bytes than its commit record says; nothing was published")

    def check_unchanged(self) -> None:
        """See `tfsdeploy.store.origin.Origin.check_unchanged`."""
        now = self._listed()
        same = all(name in now and now[name].etag == entry.etag for name, entry in self.entries.items())
        if not same or (self._record is None and len(now) != len(self.entries)):
            raise TfsdeployError(
                "it changed while it was copied; nothing was published",
                where=self._bucket.where(self._prefix),
                hint="publish when it is complete",
            )

    def _kept(self, name: str, entry: Entry, there: Entry | None, hold: Hold, count: Count) -> Sent | None:
        """What an attempt before this one has copied, if it is a copy of what is there now."""
        known = hold.sent.get(name)
        if there is None or known is None or not known.is_tag(there.etag) or known.file.size != entry.size:
            return None
        hold.check()
        # Equal tags are the store's word that both are equal, and the copy was read when it was made.
        if not known.is_tag(entry.etag) and hash_object(self._bucket, name, entry, lambda _: count(0)) != known.file:
            return None
        count(entry.size)
        return known

    def _copied(self, name: str, entry: Entry, key: str, hold: Hold, count: Count) -> Sent:

        def check() -> None:
            count(0)
            hold.check()

        check()
        try:
            if entry.size > COPY_BYTES:
                raise StoreError("too large to be copied at once")
            self._bucket.copy(entry.key, key)
        except StoreAway:
            raise
        except StoreError:
            # It cannot copy, or not this; if it denies reading or writing, this says so.
            self._bucket.upload(key, _Object(self._bucket, entry, check).pieces(), part=part_bytes(entry.size))
        hold.check_since(self._bucket.where(key))
        there = self._bucket.stat(key)
        if there is None or there.etag is None:
            raise StoreAway("the copy is not there", where=self._bucket.where(key), hint="run this again")
        copy = Entry(key, there.size, there.etag, entry.modified)
        file = hash_new_object(self._bucket, name, copy, count)
        # Equal tags are the store's word that the bytes are equal; where it gives others, the bytes tell.
        if there.etag != entry.etag and hash_object(self._bucket, name, entry, lambda _: count(0)) != file:
            raise TfsdeployError(
                "the store's copy has other bytes than what it is a copy of; nothing was published",
                where=self._bucket.where(key),
                hint="run this again",
            )
        return Sent(file, there.etag)

    def _listed(self) -> dict[str, Entry]:
        found = files_below(self._bucket, self._prefix)
        record = found.pop(RECORD_FILE, None)
        if found.pop(CLAIM_FILE, None) is not None and (record is None or record.size <= RESERVATION_BYTES):
            where = self._bucket.where(self._prefix)
            raise Busy("a push to it has not ended, or was interrupted", where=where, hint="run that push again first")
        return found

    def _taken_record(self) -> Record | None:
        """The commit record of what is copied, if it is a version; what it does not name is no part of it."""
        key = f"{self._prefix}/{RECORD_FILE}"
        content = self._bucket.get(key, LARGEST)
        if content is None:
            return None
        record = decode(content, self._bucket.where(key))
        listed = {file.path for file in record.files}
        if missing := listed - self.entries.keys():
            raise Damaged(f"{record.model}/{record.version}: {min(missing)} is missing")
        self.entries = {name: entry for name, entry in self.entries.items() if name in listed}
        return record


@dataclass(frozen=True, slots=True)
class _Object:
    """An object as what a file is to hold; see `tfsdeploy.store.sending.Content`."""

    bucket: Bucket
    entry: Entry
    check: Callable[[], None]

    @property
    def size(self) -> int:
        return self.entry.size

    def pieces(self) -> Iterator[bytes]:
        # The thread that sends is the client library's own, in which it cannot be asked for anything.
        coming = pieces(self.bucket, self.entry)
        with ThreadPoolExecutor(1, "read") as reader:
            while (piece := reader.submit(next, coming, None).result()) is not None:
                self.check()
                yield piece
            # The object appears when this ends.
            self.check()

"""Bring versions from an object store into a folder of this machine, which all replicas of the machine share.

The folder has the layout of a store. A version appears there by the rename of a complete folder whose every byte was
compared with its commit record, so whatever is killed, what stands there is true.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store import durable
from tfsdeploy.store.answers import Replaced, StoreError
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import File, InvalidRecord, Record, encode
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.tree import Progress, hash_file
from tfsdeploy.store.verify import Damaged

if TYPE_CHECKING:
    from obstore import Bytes

RANGE = 4 << 20
AT_A_TIME = 8
"""Ranges that are fetched at a time; together they are all the memory that a fetch takes."""

SPARE_BYTES = 64 << 20
"""What a disk has to keep free: logs and the last good release must still be written."""

WAIT_SECONDS = 0.1

Key = tuple[str, int]


class Fetcher:
    """Keeps the versions that are wanted in a folder; making one touches nothing.

    Args:
        store: where they come from.
        folder: where they go: the root of a file store that model servers read.
        limit: bytes that all versions there may have together; None: what the disk has.

    Attributes:
        fetched: hears the bytes and seconds of every version that was fetched.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: Path,
        limit: int | None = None,
    ) -> None:
        self.store = store
        self.local = FileStore(folder)
        self._limit = limit
        self.fetched: Callable[[int, float], None] = lambda size, seconds: None
        self._held: dict[Key, TextIO] = {}
        self._lock = threading.Lock()

    def hold(self, wanted: Collection[Key]) -> None:
        """Say which versions are in use here: no process on this machine removes them."""
        with self._lock:
            for gone in self._held.keys() - set(wanted):
                with suppress(OSError), self._held.pop(gone):
                    os.utime(self._lock_file(gone, "use"))
            for new in set(wanted) - self._held.keys():
                with suppress(OSError):
                    self._held[new] = _locked(self._lock_file(new, "use"), fcntl.LOCK_SH)

    def bring(self, model: str, version: int, digest: str | None, progress: Progress) -> Record | None:
        """Make a version present, unless it is; asks the store for nothing if it is.

        Args:
            model: its name.
            version: its number.
            digest: what the release says of it; None: nothing.
            progress: hears how many bytes are there, and may raise to stop; what was fetched is kept for the next time.

        Returns:
            The commit record of what was fetched now; None if it was there.

        Raises:
            Damaged: the store's bytes are not those of the commit record.
            StoreAway: the store does not answer.
            TfsdeployError: it has no such version, or refuses, or there is no room.
            OSError: the disk refuses.
        """
        if self._is_there(model, version, digest):
            return None
        with self._alone((model, version), progress):
            if self._is_there(model, version, digest):
                return None
            record = self._wanted(model, version, digest)
            began = time.monotonic()
            self._remove_other(model, version)
            self._make_room(record)
            self._fetch(record, progress)
            self.fetched(record.bytes, time.monotonic() - began)
            return record

    def _is_there(self, model: str, version: int, digest: str | None) -> bool:
        try:
            record = self.local.record(model, version)
        except InvalidRecord:
            return False
        return record is not None and digest in (None, record.digest)

    def _wanted(self, model: str, version: int, digest: str | None) -> Record:
        record = self.store.record(model, version)
        name = f"{model}/{version}"
        if record is None:
            raise TfsdeployError(f"{name}: the store has no such version", where=self.store.url)
        if digest not in (None, record.digest):
            raise Damaged(f"{name}: the store holds {record.digest}, the release names {digest}")
        return record

    def _fetch(self, record: Record, progress: Progress) -> None:
        """Into a folder of its own, which a later try goes on with; then its true name."""
        target = self.local.version_path(record.model, record.version)
        place = target.with_name(f".fetching-{record.version}-{record.digest.removeprefix('sha256:')[:16]}")
        durable.make_folders(place)
        done = sum(file.size for file in record.files if _is_whole(place / file.path, file))
        progress(done, record.bytes)
        missing = [file for file in record.files if not (place / file.path).exists()]
        prefix = f"{record.model}/{record.version}"
        with ThreadPoolExecutor(AT_A_TIME, "fetch") as pool, ThreadPoolExecutor(1, "sync") as syncing:
            pieces, kept = self._pieces(pool, prefix, missing), []
            for file in missing:
                durable.make_folders((place / file.path).parent)
                new = place / f"{file.path}.part"
                with new.open("wb") as stream:
                    for size in _write(stream, pieces, file, f"{prefix}/{file.path}"):
                        done += size
                        progress(done, record.bytes)
                # The disk works while the next file comes.
                kept.append(syncing.submit(_keep, new, place / file.path))
            for one in kept:
                one.result()
        durable.write(place / RECORD_FILE, encode(record).encode())
        durable.sync_folders(place)
        durable.rename_new(place, target)

    def _pieces(self, pool: ThreadPoolExecutor, prefix: str, files: list[File]) -> Iterator[Bytes]:
        """The ranges of all files, one after the other; those that come next are on their way."""
        ways: deque[Future[Bytes]] = deque()
        ranges = (
            (f"{prefix}/{file.path}", start, min(file.size, start + RANGE), file.size)
            for file in files
            for start in range(0, file.size, RANGE)
        )
        try:
            for wanted in ranges:
                ways.append(pool.submit(self._range, *wanted))
                if len(ways) >= AT_A_TIME:
                    yield ways.popleft().result()
            while ways:
                yield ways.popleft().result()
        except Replaced as error:
            raise Damaged(f"{prefix}: the store lacks a file of its commit record") from error
        finally:
            for way in ways:
                way.cancel()

    def _range(self, name: str, start: int, end: int, size: int) -> Bytes:
        """One range of an object; an object of another size is damaged, whatever the store says of the range."""
        bucket = self.store.bucket
        try:
            return bucket.get_range(name, start, end)
        except StoreError as error:
            found = None if isinstance(error, Replaced) else bucket.stat(name)
            if found is not None and found.size != size:
                raise Damaged(f"{name} has {found.size} bytes, the commit record says {size}") from error
            raise

    def _make_room(self, record: Record) -> None:
        """Remove versions that nobody uses, those that were not used for longest first, until it fits.

        Raises:
            TfsdeployError: it does not fit beside what is in use; says how much is missing.
        """
        root = self.local.root
        durable.make_folders(root)
        sizes = dict(self._sizes())
        unused = sorted((version for version in sizes if version not in self._held), key=self._last_use)
        while True:
            free = shutil.disk_usage(root).free - SPARE_BYTES
            if self._limit is not None:
                free = min(free, self._limit - sum(sizes.values()))
            if record.bytes <= free:
                return
            if not unused:
                raise TfsdeployError(
                    f"{record.model}/{record.version} has {record.bytes} bytes, and there is room for {max(0, free)} "
                    f"beside {sum(sizes.values())} bytes of versions in use",
                    where=str(root),
                    hint="raise serving.disk, or keep fewer versions",
                )
            oldest = unused.pop(0)
            if self._remove(oldest):
                del sizes[oldest]

    def _sizes(self) -> Iterator[tuple[Key, int]]:
        for model in self.local.models():
            for version in self.local.versions(model):
                with suppress(InvalidRecord):
                    if (record := self.local.record(model, version)) is not None:
                        yield (model, version), record.bytes

    def _remove_other(self, model: str, version: int) -> None:
        """What stands under this number is another version by now, or nothing that can be believed."""
        if os.path.lexists(self.local.version_path(model, version)) and not self._remove((model, version)):
            raise TfsdeployError(f"{model}/{version}: other bytes of this number are in use on this machine")

    def _remove(self, version: Key) -> bool:
        """Remove a version that no other process uses; whether it is gone."""
        with self._lock:
            ours = self._held.pop(version, None)
            if ours is not None:
                ours.close()
            try:
                with _locked(self._lock_file(version, "use"), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    path = self.local.version_path(*version)
                    away = path.with_name(f".removed-{version[1]}-{os.getpid()}")
                    with suppress(FileNotFoundError):
                        path.rename(away)
                    shutil.rmtree(away, ignore_errors=True)
                return True
            except BlockingIOError:
                return False
            finally:
                if ours is not None:
                    self._held[version] = _locked(self._lock_file(version, "use"), fcntl.LOCK_SH)

    @contextmanager
    def _alone(self, version: Key, progress: Progress) -> Iterator[None]:
        """One process of this machine fetches a version; the others wait, and find it there."""
        while True:
            try:
                lock = _locked(self._lock_file(version, "fetch"), fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(0, 0)
                time.sleep(WAIT_SECONDS)
        with lock:
            yield

    def _last_use(self, version: Key) -> float:
        try:
            return self._lock_file(version, "use").stat().st_mtime
        except OSError:
            return 0.0

    def _lock_file(self, version: Key, what: str) -> Path:
        folder = self.local.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{version[0]}.{version[1]}.{what}"


def _write(stream: BinaryIO, pieces: Iterator[Bytes], file: File, name: str) -> Iterator[int]:
    """Write one file's pieces and compare their hash; tells the size of each."""
    digest, left = hashlib.sha256(), file.size
    while left > 0:
        piece = next(pieces)
        digest.update(piece)
        stream.write(piece)
        left -= len(piece)
        yield len(piece)
    if digest.hexdigest() != file.sha256:
        raise Damaged(f"{name} has other bytes in the store than its commit record says")


def _keep(new: Path, path: Path) -> None:
    """Give a file that was compared its name, once it is on the disk."""
    with new.open("rb") as stream:
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())
    new.rename(path)


def _is_whole(path: Path, file: File) -> bool:
    """Whether an earlier try has fetched a file; what is not whole is removed."""
    if not path.exists():
        return False
    if hash_file(path) == (file.size, file.sha256):
        return True
    path.unlink()
    return False


def _locked(file: Path, how: int) -> TextIO:
    """A file with a lock, which ends when it is closed or its process ends."""
    opened = file.open("a")
    try:
        fcntl.flock(opened, how)
    except BaseException:
        opened.close()
        raise
    return opened

"""Bring versions from an object store into a folder of this machine, which all replicas of the machine share.

The folder has the layout of a store. A version appears there by the rename of a complete folder whose every byte was
compared with its commit record, so whatever is killed, what stands there is true.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.files import replace_file
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store import durable
from tfsdeploy.store.answers import StoreAway
from tfsdeploy.store.cache import Cache, Key
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.ranges import AT_A_TIME, RANGE, Line, Pace, Span
from tfsdeploy.store.record import File, InvalidRecord, Record, encode
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.tree import CHUNK, Progress, counter, files_of, hash_file
from tfsdeploy.store.verify import Damaged, verify

PART = ".tfsdeploy-part"
"""What the name of a file ends in while it comes."""

WRITE = 128 << 10
"""Bytes that are hashed and written at a time: few enough to stay in the processor's cache."""

FILES = 3
"""How many are hashed and written at a time: a fast line brings more than one thread can."""

SYNCS = 4
"""How many wait for the disk at a time: it puts what several wait for into one write of its journal."""

TRIES = 2
"""How often a file is fetched whose bytes are not those of the commit record: the way may have changed them."""


class Fetcher:
    """Keeps the versions that are wanted in a folder; making one touches nothing.

    Args:
        store: where they come from.
        cache: where they go.
        bandwidth: bytes a second that fetching may take; None: what the line has.

    Attributes:
        fetched: hears the bytes and seconds of every version that was fetched.
    """

    def __init__(self, store: ObjectStore, cache: Cache, bandwidth: int | None = None) -> None:
        self.store = store
        self.cache = cache
        self.local = FileStore(cache.versions.root, store.trusted)
        self.fetched: Callable[[int, float], None] = lambda size, seconds: None
        self._pace = Pace(bandwidth)

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
            StoreClosed: it does not let this machine in.
            Busy: other bytes of this number are in use on this machine, until whoever has them lets go of them.
            TfsdeployError: it has no such version, or refuses, or there is no room.
            OSError: the disk refuses.
        """
        if self._is_there(model, version, digest):
            return None
        with self.cache.alone((model, version), progress):
            if self._is_there(model, version, digest) or self._is_signed_since(model, version, digest):
                return None
            return self._fetch((model, version), digest, progress)

    def mend(self, model: str, version: int, digest: str | None, progress: Progress) -> Record | None:
        """Bring a version anew whose copy on this machine was found damaged; arguments and errors as for `bring`.

        Returns:
            The commit record of what was fetched now; None if somebody else has mended it meanwhile.
        """
        with self.cache.alone((model, version), progress):
            if self._is_there(model, version, digest):
                record = self.local.record(model, version)
                try:
                    if record is not None:
                        verify(self.local.version_path(model, version), record, lambda *_: progress(0, 0))
                        return None
                except Damaged:
                    self.cache.put_aside((model, version))
            return self._fetch((model, version), digest, progress)

    def _is_there(self, model: str, version: int, digest: str | None) -> bool:
        record = _read(self.local, model, version)
        return record is not None and digest in (None, record.digest)

    def _is_signed_since(self, model: str, version: int, digest: str | None) -> bool:
        """Whether these bytes are there, under a record that lacks a signature; they have the store's record then."""
        there = _read(self.cache.versions, model, version)
        if there is None or not self.store.trusted:
            return False
        record = self._wanted((model, version), digest)
        if record.digest == there.digest:
            file = self.local.version_path(model, version) / RECORD_FILE
            replace_file(file, encode(record))
            file.chmod(0o644)
        return record.digest == there.digest

    def _fetch(self, version: Key, digest: str | None, progress: Progress) -> Record:
        record = self._wanted(version, digest)
        began = time.monotonic()
        # What stands under this number is another version by now, or nothing that can be believed.
        if os.path.lexists(self.local.version_path(*version)) and not self.cache.remove(version):
            name = f"{record.model}/{record.version}"
            raise Busy(f"{name}: other bytes of this number are still in use on this machine")
        place = self.cache.begin(record)
        self._fill(place, record, progress)
        _check_alone(place, record)
        durable.write(place / RECORD_FILE, encode(record).encode())
        durable.sync_folders(place)
        durable.rename_new(place, self.local.version_path(*version))
        self.fetched(record.bytes, time.monotonic() - began)
        return record

    def _wanted(self, version: Key, digest: str | None) -> Record:
        """The commit record that the release names; another one is asked for once more, as files are."""
        try:
            return self._record(*version, digest)
        except StoreAway:
            raise
        except TfsdeployError:
            return self._record(*version, digest)

    def _record(self, model: str, version: int, digest: str | None) -> Record:
        record, name = self.store.record(model, version), f"{model}/{version}"
        if record is None:
            raise TfsdeployError(f"{name}: the store has no such version", where=self.store.url)
        if digest not in (None, record.digest):
            raise Damaged(f"{name}: the store holds {record.digest}, the release names {digest}")
        return record

    def _fill(self, place: Path, record: Record, progress: Progress) -> None:
        """Make a folder hold every file of a record; what an earlier try left there counts."""
        count = counter(progress, record.bytes)
        missing = [file for file in record.files if not _is_whole(place / file.path, file, count)]
        for _ in range(TRIES):
            missing = self._fill_once(place, record, missing, progress)
            if not missing:
                return
        name = f"{record.model}/{record.version}/{missing[0].path}"
        raise Damaged(f"{name} has other bytes in the store than its commit record says")

    def _fill_once(self, place: Path, record: Record, missing: Sequence[File], progress: Progress) -> list[File]:
        """Fetch what is missing, each file from where an earlier try ended; returns what came with other bytes."""
        starts = {file: _begun(place / file.path, file) for file in missing}
        arrived = _Arrived(record, record.bytes - sum(file.size for file in missing), progress)
        with (
            closing(Line(self.store.bucket, self._pace)) as line,
            ThreadPoolExecutor(SYNCS, "sync") as syncing,
            ThreadPoolExecutor(FILES, "file") as pool,
        ):
            large = sum(file.size - starts[file] > RANGE for file in missing)
            ahead = AT_A_TIME // min(FILES, max(1, large))

            def bring(file: File) -> Future[None] | None:
                with arrived.of_all():
                    path = place / file.path
                    span = Span(f"{record.model}/{record.version}/{file.path}", starts[file], file.size)
                    if not _comes(_part(path), file, line.pieces(span, ahead), arrived):
                        return None
                    # The disk works while the next file comes.
                    return syncing.submit(_keep, _part(path), path)

            with arrived.of_all():
                coming = [pool.submit(bring, file) for file in missing]
                wait(coming, return_when=FIRST_EXCEPTION)
            arrived.check()
            kept = [one.result() for one in coming]
            for one in kept:
                if one is not None:
                    one.result()
        return [file for file, one in zip(missing, kept, strict=True) if one is None]


class _Arrived:
    """Counts what comes by several threads; when one of them fails, the others end at their next piece."""

    def __init__(self, record: Record, done: int, progress: Progress) -> None:
        self._total = record.bytes
        self._done = done
        self._progress = progress
        self._lock = threading.Lock()
        self._failed: BaseException | None = None
        progress(done, self._total)

    def count(self, size: int) -> None:
        """So many bytes have come, or, below zero, must come again."""
        with self._lock:
            self.check()
            self._done += size
            self._progress(self._done, self._total)

    def check(self) -> None:
        """Raise what has failed first, if anything has."""
        if self._failed is not None:
            raise self._failed

    @contextmanager
    def of_all(self) -> Iterator[None]:
        """What fails in here ends the work of all."""
        try:
            yield
        except BaseException as error:
            self._failed = self._failed or error
            raise


def _read(store: FileStore, model: str, version: int) -> Record | None:
    """A commit record, if there is one that can be believed."""
    try:
        return store.record(model, version)
    except InvalidRecord:
        return None


def _check_alone(place: Path, record: Record) -> None:
    """Refuse a folder with more in it than a record names, such as warm-up requests that nobody has published.

    Raises:
        Damaged: it was; now it is gone, and the next try begins anew.
    """
    try:
        more = files_of(place).keys() - {file.path for file in record.files}
    except UsageError as error:
        more = {error.message}
    if more:
        shutil.rmtree(place, ignore_errors=True)
        raise Damaged(f"{record.model}/{record.version}: somebody else has put {min(more)} beside what was fetched")


def _part(path: Path) -> Path:
    return path.with_name(path.name + PART)


def _begun(path: Path, file: File) -> int:
    """How many bytes of a file an earlier try has left; nobody has compared them yet."""
    durable.make_folders(path.parent)
    part = _part(path)
    size = part.stat().st_size if part.exists() else 0
    if size <= file.size:
        return size
    part.unlink()
    return 0


def _left(stream: BinaryIO) -> Iterator[bytes]:
    """What an earlier try has left of a file."""
    stream.seek(0)
    while piece := stream.read(CHUNK):
        yield piece


def _comes(new: Path, file: File, coming: Generator[bytes], arrived: _Arrived) -> bool:
    """Write what comes of a file behind what an earlier try has left; whether all of it is what it should be."""
    digest = hashlib.sha256()
    with closing(coming), new.open("a+b", buffering=WRITE) as stream:
        for piece in _left(stream):
            digest.update(piece)
            arrived.count(len(piece))
        for piece in coming:
            for start in range(0, len(piece), WRITE):
                part = memoryview(piece)[start : start + WRITE]
                stream.write(part)
                digest.update(part)
            arrived.count(len(piece))
    if digest.hexdigest() == file.sha256:
        return True
    arrived.count(-new.stat().st_size)
    new.unlink()
    return False


def _keep(new: Path, path: Path) -> None:
    """Give a file that was compared its name, once it is on the disk."""
    with new.open("rb") as stream:
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())
    new.rename(path)


def _is_whole(path: Path, file: File, count: Callable[[bytes], None]) -> bool:
    """Whether an earlier try has fetched a file; what is not whole is removed."""
    if not path.exists():
        return False
    if hash_file(path, count) == (file.size, file.sha256):
        return True
    path.unlink()
    return False

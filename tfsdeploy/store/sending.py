"""Send the files of a version to an object store, several at once, hashing them as they are read."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tfsdeploy.store.answers import StoreAway, Taken
from tfsdeploy.store.bucket import PART, Bucket, Entry
from tfsdeploy.store.claim import Sent
from tfsdeploy.store.hold import Hold, put_own
from tfsdeploy.store.record import File
from tfsdeploy.store.tree import CHUNK, Progress

WORKERS = 4
"""Files that are sent at once; each holds up to three parts in memory."""

MOST_PARTS = 10_000
"""Of one object: S3 and GCS take no more."""

_ATTEMPTS = 3


def part_bytes(size: int) -> int:
    """Bytes of each part of an object that is sent in parts, so that the store takes them all.

    Args:
        size: bytes of the whole.
    """
    return max(PART, -(-size // MOST_PARTS))


class Content(Protocol):
    """What one file is to hold, wherever that is now."""

    @property
    def size(self) -> int:
        """Bytes."""

    def pieces(self) -> Iterator[bytes]:
        """All of it, from the beginning; in whichever thread this is asked."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file of this machine."""

    path: Path

    @property
    def size(self) -> int:
        """See `Content.size`."""
        return self.path.stat().st_size

    def pieces(self) -> Iterator[bytes]:
        """See `Content.pieces`."""
        with self.path.open("rb", buffering=0) as stream:
            while piece := stream.read(CHUNK):
                yield piece


def send(bucket: Bucket, folder: str, files: Mapping[str, Content], hold: Hold, progress: Progress) -> tuple[File, ...]:
    """Send every file that is not there yet.

    Args:
        bucket: the store.
        folder: ``MODEL/N``, where they go.
        files: relative path with ``/`` -> what it is to hold.
        hold: the claim on the number; told of each file that is there.
        progress: hears how many bytes are there.

    Returns:
        What was sent, now or by an attempt before this one, sorted.

    Raises:
        Busy: the claim was lost.
        StoreError: the store refuses.
        OSError: a file cannot be read.
    """
    sender = _Sender(bucket, folder, hold, progress, sum(content.size for content in files.values()))
    # Large ones first, so that the last one does not keep all waiting.
    order = sorted(files.items(), key=lambda item: -item[1].size)
    with ThreadPoolExecutor(WORKERS, "send") as pool:
        futures: list[Future[File]] = []
        try:
            futures += (pool.submit(sender.send, name, content) for name, content in order)
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            sender.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
    failures = [error for future in futures if not future.cancelled() and (error := future.exception())]
    for error in failures:
        if not isinstance(error, _Stopped):
            raise error
    return tuple(sorted(future.result() for future in futures))


class _Stopped(Exception):
    """Another file failed, or the user interrupted."""


class _Sender:
    def __init__(self, bucket: Bucket, folder: str, hold: Hold, progress: Progress, total: int) -> None:
        self._bucket = bucket
        self._folder = folder
        self._hold = hold
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._seen: Mapping[str, Entry] = {entry.key: entry for entry in bucket.list(folder)}
        self.stopped = threading.Event()

    def send(self, name: str, content: Content) -> File:
        key, size = f"{self._folder}/{name}", content.size
        there, known = self._seen.get(key), self._hold.sent.get(name)
        # What is there already, as an attempt before this one left it, is only hashed.
        if there and known and known.is_tag(there.etag) and known.file.size == size == there.size:
            found = self._hashed(name, content)
            if found == known.file:
                self._count(size)
                return found
        if size <= PART:
            whole = b"".join(content.pieces())
            file = File(name, len(whole), hashlib.sha256(whole).hexdigest())
            etag = self._put(key, whole, there)
            self._count(file.size)
        else:
            reader = _Reader(name, content)
            etag = self._upload(key, reader, size)
            file = reader.file
        self._hold.add(Sent(file, etag))
        return file

    def _hashed(self, name: str, content: Content) -> File:
        reader = _Reader(name, content)
        for _ in reader.pieces():
            self._go_on()
        return reader.file

    def _put(self, key: str, content: bytes, there: Entry | None) -> str:
        """On the condition that what is there is still what was seen: nobody else's work is replaced."""
        etag = None if there is None else there.etag
        for _ in range(_ATTEMPTS):
            self._go_on()
            try:
                return put_own(self._bucket, key, content, create=etag is None, replaces=etag)
            except Taken:
                # Only a former owner of the claim, whose write came late, may have done that.
                self._hold.beat()
                found = self._bucket.stat(key)
                etag = None if found is None else found.etag
        raise StoreAway("somebody else keeps writing this file", where=self._bucket.where(key), hint="run this again")

    def _upload(self, key: str, reader: _Reader, size: int) -> str:
        etag = self._bucket.upload(key, self._pieces(reader), part=part_bytes(size))
        self._hold.check_since(self._bucket.where(key))
        if etag is None:
            raise StoreAway("the store gives its objects no tags", where=self._bucket.where(key))
        return etag

    def _pieces(self, reader: _Reader) -> Iterator[bytes]:
        for piece in reader.pieces():
            self._go_on()
            yield piece
            self._count(len(piece))
        # The object appears when this ends.
        self._go_on()

    def _go_on(self) -> None:
        if self.stopped.is_set():
            raise _Stopped
        self._hold.check()

    def _count(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._progress(self._done, self._total)


class _Reader:
    """Content that is read once, and known when it was."""

    def __init__(self, name: str, content: Content) -> None:
        self._name = name
        self._content = content
        self._digest = hashlib.sha256()
        self._size = 0

    def pieces(self) -> Iterator[bytes]:
        for piece in self._content.pieces():
            self._digest.update(piece)
            self._size += len(piece)
            yield piece

    @property
    def file(self) -> File:
        return File(self._name, self._size, self._digest.hexdigest())

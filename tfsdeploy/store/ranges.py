"""Read files of an object store in order, large ones in several ranges at a time, and no faster than one is told to."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tfsdeploy.store.answers import Replaced, StoreError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.verify import Damaged

RANGE, LEAST_RANGE, LARGEST_RANGE = 2 << 20, 64 << 10, 4 << 20
"""Bytes of a range: while nothing is known of the line, of one that has a share of it only, and at most."""

LARGEST_REQUEST = 256 << 20
"""Bytes, at most, that are read by one request, as they come; what is larger comes in ranges, several at a time."""

RANGE_SECONDS, REQUEST_SECONDS = 0.5, 20.0
"""How long a range, and a request, may be on the way: every one costs the store its work, and a broken one is lost."""

AT_A_TIME = 6
"""Ranges that are on their way, or wait to be taken; so many of the largest are in memory."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, slots=True)
class Span:
    """What is wanted of one object: everything from ``start`` on; ``size`` is what the whole has."""

    key: str
    start: int
    size: int


class Pace:
    """Chooses ranges that suit the line, and spreads them so that together they take no more than a share of it.

    Args:
        bytes_per_second: the share; None: all of it.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        self._rate = bytes_per_second
        self._speed: float | None = None
        self._free = 0.0
        self._lock = threading.Lock()

    @property
    def range_bytes(self) -> int:
        """How large a range is asked for: a small share is not taken in bursts."""
        size = RANGE
        if self._speed is not None:
            size = min(LARGEST_RANGE, max(RANGE // 2, int(self._speed * RANGE_SECONDS)))
        return size if self._rate is None else min(size, max(LEAST_RANGE, self._rate // AT_A_TIME))

    @property
    def request_bytes(self) -> int:
        """How much is best read by one request."""
        if self._rate is not None or self._speed is None:
            return self.range_bytes
        return min(LARGEST_REQUEST, max(self.range_bytes, int(self._speed * REQUEST_SECONDS)))

    def took(self, size: int, seconds: float) -> None:
        """Hear how long so many bytes were on their way; few say nothing of the line."""
        if size >= RANGE // 2:
            self._speed = size / max(seconds, 1e-3)

    def delay(self, size: int, now: float) -> float:
        """How many seconds to wait before so many bytes are asked for; the next one waits until they have come.

        Args:
            size: bytes.
            now: on a clock that never goes back, seconds.
        """
        if self._rate is None:
            return 0.0
        with self._lock:
            begin = max(now, self._free)
            self._free = begin + size / self._rate
            return begin - now


class Line:
    """The way from a bucket; close it when all is there.

    Args:
        bucket: where the bytes are.
        pace: shared by all that comes at the same time.
    """

    def __init__(self, bucket: Bucket, pace: Pace) -> None:
        self._bucket = bucket
        self._pace = pace
        self._pool = ThreadPoolExecutor(AT_A_TIME, "fetch")
        _keep_memory()

    def close(self) -> None:
        """Ask for nothing more, and wait for what was asked for."""
        self._pool.shutdown(cancel_futures=True)

    def pieces(self, span: Span, ahead: int) -> Generator[bytes]:
        """The bytes of a span, in order.

        Args:
            span: what is wanted.
            ahead: how many ranges of a large one are on their way before they are taken; at least 1.

        Raises:
            Damaged: the object is not there, or has another size.
            StoreError: the store does not answer, or refuses.
        """
        ways: deque[Future[list[bytes]]] = deque()
        start = span.start
        try:
            while ways or span.size - start > self._pace.request_bytes:
                while start < span.size and len(ways) < ahead:
                    end = min(span.size, start + self._pace.range_bytes)
                    ways.append(self._pool.submit(lambda *words: list(self._read(*words)), span, start, end))
                    start = end
                yield from ways.popleft().result()
            if start < span.size:
                yield from self._read(span, start, span.size)
        finally:
            for way in ways:
                way.cancel()

    def _read(self, span: Span, start: int, end: int) -> Iterator[bytes]:
        """A part of an object; an object of another size is damaged, whatever the store says of the part."""
        if pause := self._pace.delay(end - start, time.monotonic()):
            time.sleep(pause)
        asked = time.monotonic()
        try:
            yield from self._bucket.pieces(span.key, start, end)
        except Replaced as error:
            raise Damaged(f"{span.key}: the store lacks a file of its commit record") from error
        except StoreError as error:
            there = self._bucket.stat(span.key)
            if there is not None and there.size != span.size:
                raise Damaged(f"{span.key} has {there.size} bytes, the commit record says {span.size}") from error
            raise
        self._pace.took(end - start, time.monotonic() - asked)


def _keep_memory() -> None:
    """Let glibc keep the memory of pieces for the next ones: mallopt(3).

    By default it gives each one back, and the kernel clears other memory for the next: a fifth of a fetch's work.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        mallopt(_M_TRIM_THRESHOLD, 16 << 20)

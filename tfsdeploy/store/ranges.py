"""Read files of an object store in ranges, several at a time, in order, and no faster than one is told to."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tfsdeploy.store.answers import Replaced, StoreError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.verify import Damaged

RANGE, LARGEST_RANGE, LEAST_RANGE = 2 << 20, 8 << 20, 64 << 10
"""Bytes of the first range, of one on a fast line, and of one that has a share of the line only."""

AT_A_TIME = 6
"""Ranges that are on their way, or wait to be written; so many of the largest are in memory."""

QUICK, SLOW = 0.5, 5.0
"""Seconds that a range takes on a line that larger ones suit, and on one that smaller ones do.

Every request costs the store its work, so few are best; but one that takes minutes is given up and lost.
"""


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
        self._range = RANGE
        self._free = 0.0
        self._lock = threading.Lock()

    @property
    def range_bytes(self) -> int:
        """How large a range is asked for: a small share is not taken in bursts."""
        if self._rate is None:
            return self._range
        return min(self._range, max(LEAST_RANGE, self._rate // AT_A_TIME))

    def took(self, size: int, seconds: float) -> None:
        """Hear how long a range of so many bytes was on its way; smaller ones tell nothing of a quick line."""
        with self._lock:
            if seconds >= SLOW:
                self._range = max(RANGE // 2, self._range // 2)
            elif seconds < QUICK and size >= self._range:
                self._range = min(LARGEST_RANGE, self._range * 2)

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
    """The way from a bucket: a few ranges at a time. Close it when all is there."""

    def __init__(self, bucket: Bucket, pace: Pace) -> None:
        self._bucket = bucket
        self._pace = pace
        self._pool = ThreadPoolExecutor(AT_A_TIME, "fetch")

    def close(self) -> None:
        """Ask for nothing more, and wait for what was asked for."""
        self._pool.shutdown(cancel_futures=True)

    def pieces(self, span: Span, ahead: int) -> Generator[bytes]:
        """The bytes of a span, in order.

        Args:
            span: what is wanted.
            ahead: how many ranges are on their way before they are taken; at least 1.

        Raises:
            Damaged: the object is not there, or has another size.
            StoreError: the store does not answer, or refuses.
        """
        ways: deque[Future[list[bytes]]] = deque()
        start = span.start
        try:
            while ways or start < span.size:
                while start < span.size and len(ways) < ahead:
                    end = min(span.size, start + self._pace.range_bytes)
                    ways.append(self._pool.submit(self._range, span, start, end))
                    start = end
                yield from ways.popleft().result()
        finally:
            for way in ways:
                way.cancel()

    def _range(self, span: Span, start: int, end: int) -> list[bytes]:
        """One range of an object; an object of another size is damaged, whatever the store says of the range."""
        if pause := self._pace.delay(end - start, time.monotonic()):
            time.sleep(pause)
        asked = time.monotonic()
        try:
            found = self._bucket.get_pieces(span.key, start, end)
        except Replaced as error:
            raise Damaged(f"{span.key}: the store lacks a file of its commit record") from error
        except StoreError as error:
            there = self._bucket.stat(span.key)
            if there is not None and there.size != span.size:
                raise Damaged(f"{span.key} has {there.size} bytes, the commit record says {span.size}") from error
            raise
        self._pace.took(end - start, time.monotonic() - asked)
        return found

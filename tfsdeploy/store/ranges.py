"""Read files of an object store in ranges, several at a time, in order, and no faster than one is told to."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfsdeploy.store.answers import Replaced, StoreError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.verify import Damaged

if TYPE_CHECKING:
    from obstore import Bytes

RANGE = 2 << 20
AT_A_TIME = 6
"""Ranges that are fetched at a time; a fetch takes about three times their bytes of memory."""

LEAST_RANGE = 64 << 10


@dataclass(frozen=True, slots=True)
class Span:
    """What is wanted of one object: everything from ``start`` on; ``size`` is what the whole has."""

    key: str
    start: int
    size: int


class Pace:
    """Spreads requests so that together they take no more than a share of the line.

    Args:
        bytes_per_second: the share; None: all of it.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        self._rate = bytes_per_second
        self._free = 0.0
        self._lock = threading.Lock()

    @property
    def range_bytes(self) -> int:
        """How large a range is asked for: a small share is not taken in bursts."""
        if self._rate is None:
            return RANGE
        return min(RANGE, max(LEAST_RANGE, self._rate // AT_A_TIME))

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


def pieces(bucket: Bucket, spans: Sequence[Span], pace: Pace) -> Generator[memoryview]:
    """The bytes of all spans, one after the other; those that come next are on their way.

    Raises:
        Damaged: an object is not there, or has another size.
        StoreError: the store does not answer, or refuses.
    """
    ways: deque[Future[Bytes]] = deque()
    ranges = (
        (span, start, min(span.size, start + pace.range_bytes))
        for span in spans
        for start in range(span.start, span.size, pace.range_bytes)
    )
    with ThreadPoolExecutor(AT_A_TIME, "fetch") as pool:
        try:
            for span, start, end in ranges:
                ways.append(pool.submit(_range, bucket, span, start, end, pace))
                if len(ways) >= AT_A_TIME:
                    yield memoryview(ways.popleft().result())
            while ways:
                yield memoryview(ways.popleft().result())
        finally:
            for way in ways:
                way.cancel()


def _range(bucket: Bucket, span: Span, start: int, end: int, pace: Pace) -> Bytes:
    """One range of an object; an object of another size is damaged, whatever the store says of the range."""
    if pause := pace.delay(end - start, time.monotonic()):
        time.sleep(pause)
    try:
        return bucket.get_range(span.key, start, end)
    except Replaced as error:
        raise Damaged(f"{span.key}: the store lacks a file of its commit record") from error
    except StoreError as error:
        found = bucket.stat(span.key)
        if found is not None and found.size != span.size:
            raise Damaged(f"{span.key} has {found.size} bytes, the commit record says {span.size}") from error
        raise

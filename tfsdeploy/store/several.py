"""Go over the files of a version, several at a time: what is far away keeps one reader waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from tfsdeploy.store.tree import Progress

WORKERS = 4

Count = Callable[[int], None]
"""Is told of so many bytes more of a file, or of 0 at a piece that does not count; raises when the work is to end."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def several(
    work: Callable[[Item, Count], Found], items: Collection[Item], total: int, progress: Progress
) -> tuple[Found, ...]:
    """What a work finds out of each file; when one fails, or the user interrupts, the others end at their next piece.

    Args:
        work: is given a file, and whom to tell at every piece of it.
        items: the files.
        total: bytes of all.
        progress: hears how many of them are done.

    Returns:
        In the order of ``items``.

    Raises:
        Exception: what ``work`` raised.
    """
    done, counting, ended = 0, threading.Lock(), threading.Event()

    def count(size: int) -> None:
        nonlocal done
        if ended.is_set():
            raise _Ended
        with counting:
            done += size
            progress(done, total)

    with ThreadPoolExecutor(WORKERS, "files") as pool:
        futures: list[Future[Found]] = []
        try:
            futures += (pool.submit(work, item, count) for item in items)
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)
    failures = (error for future in futures if not future.cancelled() and (error := future.exception()))
    for error in failures:
        if not isinstance(error, _Ended):
            raise error
    return tuple(future.result() for future in futures)


class _Ended(Exception):
    """Nobody wants to know any more."""

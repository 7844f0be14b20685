"""Work that requests go before: what it takes to load a version competes with them for the same processors."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TypeVar

Result = TypeVar("Result")

NICENESS: Final = 5
"""Above the process's own: a third of what a thread of requests gets (1.25 for each step, sched(7)). Not less, as it
may hold the interpreter, and then requests wait until it has had its turn among all that the machine runs."""


def beside_requests(work: Callable[[], Result]) -> Result:
    """Do something in a thread of its own, with less of the processor than the thread that waits for it.

    Of its own, because only the privileged get priority back, and what a thread starts inherits what it has: threads
    that are to run requests must not be made here.

    Args:
        work: what to do.

    Returns:
        What it returns.

    Raises:
        BaseException: what it raises.
    """
    done: Future[Result] = Future()
    threading.Thread(target=_run, args=(work, done), name="beside requests", daemon=True).start()
    try:
        return done.result()
    finally:
        # An error holds the frames that it was raised in, and those hold this: what failed would stay in memory.
        del done


def _run(work: Callable[[], Result], done: Future[Result]) -> None:
    try:
        if sys.platform == "linux":  # elsewhere it is the whole process that has a priority
            with suppress(OSError):  # a sandbox may forbid it; then loads are as quick as requests
                here = threading.get_native_id()
                os.setpriority(os.PRIO_PROCESS, here, os.getpriority(os.PRIO_PROCESS, here) + NICENESS)
        done.set_result(work())
    except BaseException as error:  # handed on to whoever waits
        done.set_exception(error)
    finally:
        del done

"""Work that waits for storage, in a thread that keeps nobody waiting: neither the loop's other threads nor its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

T = TypeVar("T")


def in_a_daemon(name: str, work: Callable[[], T]) -> asyncio.Future[T]:
    """Begin work in a daemon of its own; to be called in a loop.

    Args:
        name: of the thread.
        work: may hang for ever.

    Returns:
        What it returns or raises; nobody is told once the loop has ended.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(cast("T", value))

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as raised:  # handed on to whoever waits
            error = raised
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return found

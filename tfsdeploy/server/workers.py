"""Where requests are answered: at once on the event loop if that is known to be quick, else in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tfsdeploy.server.pace import WouldWait

Answer = TypeVar("Answer")


class Workers:
    """Threads behind one event loop.

    Args:
        loop: that the front ends live on.
        threads: that answer at the same time; what comes beyond them waits in line.
        name: of the threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: int, name: str) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def answer(
        self, work: Callable[[bool], Answer], done: Callable[[Answer], None], *, small: bool
    ) -> Future[None] | None:
        """Have a request answered; called on the loop.

        Args:
            work: answers; told whether it may wait. If it may not, it may raise `WouldWait`; it raises nothing else.
            done: takes the answer, on the loop.
            small: try at once whether no wait is needed.

        Returns:
            What can be cancelled while it stands in line; None if the answer has been given.
        """
        if small:
            try:
                answer = work(False)
            except WouldWait:
                pass
            else:
                done(answer)
                return None
        return self._pool.submit(self._in_thread, work, done)

    def close(self) -> None:
        """End; what stands in line is not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _in_thread(self, work: Callable[[bool], Any], done: Callable[[Any], None]) -> None:
        answer = work(True)
        try:
            self._loop.call_soon_threadsafe(done, answer)
        except RuntimeError:  # the loop has ended: nobody listens any more
            return

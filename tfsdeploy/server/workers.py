"""Where requests are answered: at once on the event loop if that is known to be quick, else in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tfsdeploy.server.pace import WouldWait

Answer = TypeVar("Answer")


class Standing:
    """A request that stands in line for a thread, or is answered in one."""

    __slots__ = ("done", "future", "work")

    def __init__(self, work: Callable[[bool], Any], done: Callable[[Any], None]) -> None:
        self.work: Callable[[bool], Any] | None = work
        self.done = done
        self.future: Future[None] | None = None

    def cancel(self) -> None:
        """Nobody wants the answer any more; while it stands in line, its message goes at once."""
        if self.future is not None and self.future.cancel():
            self.work = None


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
        self._aside = ThreadPoolExecutor(1, thread_name_prefix=f"{name}, aside")

    def answer(
        self, work: Callable[[bool], Answer], done: Callable[[Answer], None], *, small: bool, aside: bool = False
    ) -> Standing | None:
        """Have a request answered; called on the loop.

        Args:
            work: answers; told whether it may wait. If it may not, it may raise `WouldWait`; it raises nothing else.
            done: takes the answer, on the loop.
            small: try at once whether no wait is needed.
            aside: neither on the loop nor in line with the others: by a thread for such requests alone.

        Returns:
            What can be cancelled while it stands in line; None if the answer has been given.
        """
        if small and not aside:
            try:
                answer = work(False)
            except WouldWait:
                pass
            else:
                done(answer)
                return None
        standing = Standing(work, done)
        standing.future = (self._aside if aside else self._pool).submit(self._in_thread, standing)
        return standing

    def close(self) -> None:
        """End; what stands in line is not begun."""
        for pool in (self._pool, self._aside):
            pool.shutdown(wait=False, cancel_futures=True)

    def _in_thread(self, standing: Standing) -> None:
        assert standing.work is not None  # what was cancelled is not begun
        answer = standing.work(True)
        try:
            self._loop.call_soon_threadsafe(standing.done, answer)
        except RuntimeError:  # the loop has ended: nobody listens any more
            return

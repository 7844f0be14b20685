"""`--timeout`: the time that a command, or a step of one, may take; when it is over, the main thread hears SIGALRM.

What that thread cannot be told, because it waits inside a library, `tfsdeploy.cli.impatience` ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, Self


class TimeIsUp(BaseException):
    """Raised in the main thread; no error of what is done there, so that nobody takes it for one and goes on."""


class Deadline:
    """Nothing has to be done by a certain time until `set` says so; outside of a main thread never."""

    def __init__(self) -> None:
        self._heard = False

    def __enter__(self) -> Self:
        self._heard = threading.current_thread() is threading.main_thread()
        if self._heard:
            self._handler = signal.signal(signal.SIGALRM, _give_up)
            self._timer = signal.setitimer(signal.ITIMER_REAL, 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._heard:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._handler)
            signal.setitimer(signal.ITIMER_REAL, *self._timer)

    def set(self, seconds: float) -> None:
        """Give up after so many seconds from now; 0 for never."""
        if self._heard:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What takes its time inside the block is not counted, such as the thoughts of a user."""
        left = signal.setitimer(signal.ITIMER_REAL, 0)[0] if self._heard else 0.0
        try:
            yield
        finally:
            self.set(left)


def _give_up(number: int, frame: object) -> NoReturn:
    raise TimeIsUp

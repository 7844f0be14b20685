"""Things that one request at a time can use, made as they are needed and kept for the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from tfsdeploy.server.pace import WouldWait

Thing = TypeVar("Thing")


class Pool(Generic[Thing]):
    """So many things at most; the first is made at once.

    Args:
        make: makes one; what it raises goes to who wanted it.
        most: 1 at least.
    """

    def __init__(self, make: Callable[[], Thing], most: int) -> None:
        self._make = make
        self._most = most
        self._idle = [make()]
        self._count = 1
        self._changed = threading.Condition()

    def take(self, *, wait: bool = True) -> Thing:
        """Have one until it is given back.

        Args:
            wait: until one is made, or given back.

        Raises:
            WouldWait: there is none now, and ``wait`` is not set.
        """
        with self._changed:
            if not wait and not self._idle:
                raise WouldWait
            self._changed.wait_for(lambda: self._idle or self._count < self._most)
            if self._idle:
                return self._idle.pop()
            self._count += 1
        try:
            return self._make()
        except BaseException:
            self.give_back(None)
            raise

    def give_back(self, thing: Thing | None) -> None:
        """Let the next one have it; None: it is of no more use."""
        with self._changed:
            if thing is None:
                self._count -= 1
            else:
                self._idle.append(thing)
            self._changed.notify()

"""How long a process that is there has said nothing: one that hangs does not come back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

HUNG_SECONDS = 30.0
"""Far longer than an answer takes, since it gets no new requests meanwhile; those that it has may take their time,
which whoever ends it for this has to give it."""


class Silence:
    """The silence of one process.

    Args:
        clock: seconds, of which only differences mean anything.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def heard(self) -> None:
        """It answered, or is not there to be asked."""
        self._since = None

    def unheard(self) -> None:
        """It is there, and did not answer."""
        if self._since is None:
            self._since = self._clock()

    @property
    def is_death(self) -> bool:
        """Whether it has lasted for so long that the process is to be started anew."""
        return self._since is not None and self._clock() - self._since > HUNG_SECONDS

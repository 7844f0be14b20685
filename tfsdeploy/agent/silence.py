"""A process that is there and says nothing: one that hangs does not come back by itself, and a file says so.

A liveness probe looks whether the file was renewed since its last look. It asks no agent, and does not believe what one
said that is starved or gone by now: that must not end a process that serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

HUNG_FILE = "hung"

HUNG_SECONDS = 30.0
"""Far longer than an answer takes, since it gets no new requests meanwhile; those that it has may take their time,
which whoever ends it for this has to give it."""


class Silence:
    """The silence of the process beside an agent.

    Args:
        folder: which both share.
        clock: seconds, of which only differences mean anything.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = folder / HUNG_FILE
        self._clock = clock
        self._since: float | None = None
        self._told: bool | None = None

    def heard(self) -> None:
        """It answered, or is not there to be asked."""
        self._since = None
        self._tell(False)

    def unheard(self) -> None:
        """It is there, and did not answer."""
        if self._since is None:
            self._since = self._clock()
        self._tell(self._clock() - self._since > HUNG_SECONDS)

    def _tell(self, hung: bool) -> None:
        if hung == self._told and not hung:
            return
        # What cannot be written now is written at the next look.
        with suppress(OSError):
            self._file.touch() if hung else self._file.unlink(missing_ok=True)
            self._told = hung

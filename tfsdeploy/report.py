"""What a command tells while it works: the seam between doing and showing."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Hears what happens; never decides anything."""

    def say(self, text: str) -> None:
        """Something happened: one line that stays."""

    def waiting(self, text: str) -> None:
        """What is being waited for at this moment; on a terminal it replaces the one before."""

    def progress(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` bytes of ``what``."""

    def warn(self, text: str) -> None:
        """Something the user should know, though the work goes on."""

    def within(self, seconds: float) -> None:
        """What comes now takes at most so many seconds, or it hangs; 0: that is not known."""


class Silent:
    """A report that nobody reads."""

    def say(self, text: str) -> None:
        """Nothing."""

    def waiting(self, text: str) -> None:
        """Nothing."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def within(self, seconds: float) -> None:
        """Nothing."""

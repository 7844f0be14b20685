"""What a command tells while it works: on stderr, in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tfsdeploy.cli.answer import paint

PLAIN_SECONDS = 5.0
"""Where lines stay, what is waited for is told this often, and not before the first second is over."""


SLOW_SECONDS = 2.0
"""What usually takes no time is told of only when it takes longer, and so often then."""


class TerminalReport:
    """A `Report` on stderr: stdout belongs to the answer alone.

    Args:
        within: see `Report.within`.
    """

    def __init__(self, within: Callable[[float], None] = lambda seconds: None) -> None:
        self.within = within
        self._stream = sys.stderr
        self._live = self._stream.isatty()
        self._started = time.monotonic()
        self._shown = ""
        self._told = self._started + 1.0 - PLAIN_SECONDS

    def say(self, text: str) -> None:
        """A line that stays, with the seconds since the command's start."""
        self.clear()
        stamp = paint(f"{time.monotonic() - self._started:6.1f}s", "2", self._stream)
        self._line(f"{stamp}  {text}")

    def warn(self, text: str) -> None:
        """A line that stays and should be noticed."""
        self.clear()
        self._line(f"{paint('warning:', '1;33', self._stream)} {text}")

    def waiting(self, text: str) -> None:
        """What is waited for now."""
        if self._live:
            self._replace(f"        {text}")
        elif time.monotonic() - self._told >= PLAIN_SECONDS:
            self._told = time.monotonic()
            self._line(f"waiting: {text}")

    @contextmanager
    def patiently(self, words: Callable[[], str]) -> Iterator[None]:
        """Tell what the block waits for while that does not answer, from a thread of its own.

        Args:
            words: for what, and how far that is.
        """
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(SLOW_SECONDS):
                self.waiting(words())

        thread = threading.Thread(target=tell, name="patience", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.clear()

    def progress(self, what: str, done: int, total: int) -> None:
        """A bar on a terminal; elsewhere a line now and then, so that a log tells that something happens."""
        share = done / total if total else 1.0
        if self._live:
            self._replace(f"        {what} [{'#' * round(24 * share):<24}] {share:4.0%}  {_of(done, total)}")
        elif time.monotonic() - self._told >= PLAIN_SECONDS:
            self._told = time.monotonic()
            self._line(f"{what}: {_of(done, total)} ({share:.0%})")

    def clear(self) -> None:
        """Take away the line that is being replaced."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = ""

    def _replace(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        if text != self._shown:
            self._shown = text
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def _of(done: int, total: int) -> str:
    """How many bytes of how many, in the unit that suits the whole."""
    unit, size = next(
        ((unit, size) for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)) if total >= size), ("B", 1)
    )
    places = 1 if unit == "GB" else 0
    return f"{done / size:.{places}f} of {total / size:.{places}f} {unit}"

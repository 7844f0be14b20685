"""The logs of a fleet's processes: rotated without stopping the writer, read across rotations."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

LOG_BYTES = 10 * 1024 * 1024
LOG_FILES = 3


def rotate(log: Path, *, limit: int = LOG_BYTES, files: int = LOG_FILES) -> None:
    """Move a log that has grown beyond its limit to ``.1``, older ones one further, and begin it anew.

    The text is copied and the file cut to nothing, since the writer keeps it open (with ``O_APPEND``). What is
    written between the two, some microseconds, is lost.

    Args:
        log: the file that a process writes.
        limit: bytes that it may have.
        files: how many older ones are kept, at least 1.
    """
    try:
        if log.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    for number in range(files - 1, 0, -1):
        older = _older(log, number)
        if older.exists():
            os.replace(older, _older(log, number + 1))
    # The copy appears under its name when it is whole, so that a reader never takes half of it for all.
    copy = _older(log, 0)
    shutil.copyfile(log, copy)
    os.replace(copy, _older(log, 1))
    os.truncate(log, 0)


class Tail:
    """Reads one log as it grows.

    Args:
        log: the file; it may not be there yet.
        lines: how many of the lines that are there already are wanted.
    """

    def __init__(self, log: Path, lines: int) -> None:
        self.name = log.name.removesuffix(".log")
        self._log = log
        self._position = 0
        self._rest = b""
        self._first: tuple[bytes, int] | None = _last_lines(log, lines)

    def lines(self) -> Iterator[str]:
        """The whole lines that came since the last call."""
        if self._first is not None:
            text, self._position = self._first
            self._first = None
        else:
            text = self._new_text()
        *whole, self._rest = (self._rest + text).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")

    def _new_text(self) -> bytes:
        try:
            with open(self._log, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                missed = b""
                if size < self._position:
                    missed = _read_from(_older(self._log, 1), self._position)
                    self._position = 0
                stream.seek(self._position)
                text = stream.read()
                self._position += len(text)
                return missed + text
        except FileNotFoundError:
            return b""


def logs_of(folder: Path, names: Sequence[str]) -> list[Path]:
    """The logs of units (``shop-serving-1``) or processes (``shop-serving-1.agent``), sorted by name."""
    return [log for log in sorted(folder.glob("*.log")) if any(log.name.startswith(f"{name}.") for name in names)]


def _older(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def _read_from(file: Path, position: int) -> bytes:
    try:
        with open(file, "rb") as stream:
            stream.seek(position)
            return stream.read()
    except FileNotFoundError:
        return b""


def _last_lines(log: Path, wanted: int) -> tuple[bytes, int]:
    """The last lines of a log, older ones from ``.1``, and the position after them."""
    kept: deque[bytes] = deque(maxlen=wanted)
    position = 0
    for file in (_older(log, 1), log):
        try:
            with open(file, "rb") as stream:
                kept.extend(stream)
                position = stream.tell()
        except FileNotFoundError:
            position = 0
    return b"".join(kept), position

"""What a command in a container prints, as the engine sends it: frames of a head and some bytes."""

from __future__ import annotations

from typing import Any

HEAD_BYTES = 8
"""A byte for the stream, three of nothing, four for the length."""

ERRORS = 2
"""The stream of what a command says of itself."""


class Frames:
    """Takes the frames of a connection apart.

    Args:
        raw: a socket from `Engine.opened`.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._left = 0
        self._stream = 0
        self._rest = b""
        self.errors = b""

    def recv(self, size: int) -> bytes:
        """Some of the command's output; nothing at its end. What it says of itself is kept in ``errors``."""
        while True:
            while not self._left:
                head = b""
                while len(head) < HEAD_BYTES:
                    more: bytes = self._raw.recv(HEAD_BYTES - len(head))
                    if not more:
                        return b""
                    head += more
                self._stream, self._left = head[0], int.from_bytes(head[4:], "big")
            found: bytes = self._raw.recv(min(size, self._left))
            self._left -= len(found)
            if self._stream != ERRORS or not found:
                return found
            self.errors += found

    def line(self) -> bytes:
        """The next line of the output, without its end; nothing if the output has ended before one was whole."""
        while b"\n" not in self._rest:
            more = self.recv(1 << 16)
            if not more:
                return b""
            self._rest += more
        found, _, self._rest = self._rest.partition(b"\n")
        return found

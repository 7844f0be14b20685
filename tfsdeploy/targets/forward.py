"""Ports of this machine that lead to ports elsewhere, by whatever way a target opens there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

CHUNK = 1 << 16


class Forwards:
    """Makes each way once, when it is asked for; they end with `close` or with the process.

    Args:
        open_way: connects to a port of a named pod or container; what it gives is used as a socket.
    """

    def __init__(self, open_way: Callable[[str, Any], Any]) -> None:
        self._open = open_way
        self._lock = threading.Lock()
        self._ways: dict[tuple[str, int | str], socket.socket] = {}
        self._failed: dict[tuple[str, int | str], str] = {}

    def to(self, name: str, port: int | str) -> str:
        """``127.0.0.1:PORT`` of this machine that leads to a port there."""
        with self._lock:
            listening = self._ways.get((name, port))
            if listening is None:
                listening = self._ways[name, port] = socket.create_server(("127.0.0.1", 0))
                threading.Thread(target=self._serve, args=(listening, name, port), daemon=True).start()
        return f"127.0.0.1:{listening.getsockname()[1]}"

    def failures(self, names: Collection[str]) -> tuple[str, ...]:
        """Why the ways to these pods or containers that could not be opened last could not, a line each."""
        with self._lock:
            failed = sorted((name, port, why) for (name, port), why in self._failed.items() if name in names)
        return tuple(f"{name}: no way to port {port}: {why}" for name, port, why in failed)

    def close(self) -> None:
        """End all ways."""
        with self._lock:
            for listening in self._ways.values():
                with suppress(OSError):
                    listening.shutdown(socket.SHUT_RDWR)
                listening.close()
            self._ways.clear()

    def _serve(self, listening: socket.socket, name: str, port: int | str) -> None:
        while True:
            try:
                here, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(here, name, port), daemon=True).start()

    def _carry(self, here: socket.socket, name: str, port: int | str) -> None:
        try:
            there = self._open(name, port)
        except Exception as error:
            # Whoever connected sees a closed connection, as if the other side itself had refused.
            with self._lock:
                self._failed[name, port] = " ".join(str(error).split())[:300] or type(error).__name__
            here.close()
            return
        with self._lock:
            self._failed.pop((name, port), None)
        back = threading.Thread(target=_copy, args=(there, here), daemon=True)
        back.start()
        _copy(here, there)
        back.join()
        here.close()
        there.close()


def _copy(source: Any, sink: Any) -> None:
    with suppress(OSError):
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)

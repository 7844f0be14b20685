"""Ports for servers that tests start: nobody else takes them before the server does."""

from __future__ import annotations

import random
import socket
import threading
from itertools import count as counting

FIRST, LAST, BLOCK = 10_000, 20_000, 100
"""Below the ports that systems give to outgoing connections, and those of local fleets."""

_taking = threading.Lock()
_turn = counting()
_mine: list[tuple[int, socket.socket]] = []


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody has now, and that no other process of the tests is given."""
    with _taking:
        if not _mine:
            _mine.append(_block())
        first, _ = _mine[0]
        found: list[int] = []
        for _ in range(BLOCK):
            if len(found) == count:
                return found
            port = first + next(_turn) % BLOCK
            if (held := _bound(socket.SOCK_STREAM, port)) is not None:
                held.close()
                found.append(port)
    raise AssertionError(f"no {count} ports are free from {first} on")


def _block() -> tuple[int, socket.socket]:
    """The first port of a block, and what keeps it for this process: the UDP port of that number."""
    for first in random.sample(range(FIRST, LAST, BLOCK), (LAST - FIRST) // BLOCK):
        if (claim := _bound(socket.SOCK_DGRAM, first)) is not None:
            return first, claim
    raise AssertionError(f"each block of ports between {FIRST} and {LAST} is somebody's")


def _bound(kind: socket.SocketKind, port: int) -> socket.socket | None:
    found = socket.socket(socket.AF_INET, kind)
    try:
        found.bind(("127.0.0.1", port))
    except OSError:
        found.close()
        return None
    return found

"""Ports on this machine: free ones for what only the fleet's own parts talk to, and who has a port that is busy."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.errors import TfsdeployError

FIRST, LAST = 20000, 32000
"""Below the ports that Linux gives to outgoing connections (ip_local_port_range: from 32768)."""


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that have ended but linger do not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int, taken: Iterable[int], address: str = "127.0.0.1") -> list[int]:
    """Some free ports that nobody else was given.

    Args:
        count: how many.
        taken: ports that belong to somebody, even if nobody listens there now.
        address: where they are to be free.

    Raises:
        TfsdeployError: there are not so many.
    """
    not_these = set(taken)
    candidates = [port for port in range(FIRST, LAST) if port not in not_these]
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if is_free(port, address):
            found.append(port)
    if len(found) < count:
        raise TfsdeployError(f"no {count} ports are free between {FIRST} and {LAST} on {address}")
    return found


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port."""

    pid: int
    command: str


def holder(port: int) -> Holder | None:
    """Who listens on a TCP port of this machine; None if /proc does not tell."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if any(_target(descriptor) in sockets for descriptor in (entry / "fd").iterdir()):
                return Holder(int(entry.name), (entry / "comm").read_text().strip())
        except OSError:
            continue
    return None


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


def _listening(port: int) -> set[str]:
    """The inodes of the sockets that listen on a port (proc(5): ``net/tcp``; state 0A is LISTEN)."""
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes

"""Who a process is: a process number alone proves nothing, since numbers are used again. The standard library only."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from pathlib import Path

ENDED = ("Z", "X")
"""States of what is only left of a process (proc(5))."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of this boot: its number and its start time (clock ticks since boot, proc(5) field 22)."""

    pid: int
    start: int


def who() -> str:
    """``user@host`` of this process, as commit records and history entries name it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user often has a number and no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def boot_id() -> str:
    """The identity of this boot of the machine; start times of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identity(pid: int) -> Identity | None:
    """The living process with this number; None if there is none, or only its remains (a zombie)."""
    fields = stat(pid)
    return None if fields is None or fields[0] in ENDED else Identity(pid, int(fields[19]))


def is_alive(process: Identity) -> bool:
    """Whether this very process still runs."""
    return identity(process.pid) == process


def stat(pid: int) -> list[str] | None:
    """The fields of proc(5) ``stat`` from the third (state) on; None if there is nothing to be seen.

    The second, the program's name, may itself contain spaces and brackets.
    """
    try:
        text = Path("/proc", str(pid), "stat").read_bytes().decode(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split() or None

"""Which process owns a rollout, and whether it still lives: only the same host and boot can tell."""

from __future__ import annotations

import getpass
import os
import re
import socket
from pathlib import Path

_OWNER = re.compile(r"(?P<who>\S+)@(?P<host>\S+) pid (?P<pid>\d+) start (?P<start>\d+) boot (?P<boot>\S+)\Z")


def who() -> str:
    """``user@host`` of this process, as history entries name it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user often has a number and no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def this_process() -> str:
    """This process, as `Rollout.by` names it."""
    pid = os.getpid()
    return f"{who()} pid {pid} start {_started(pid)} boot {_boot()}"


def is_alive(owner: str) -> bool:
    """Whether a rollout's owner certainly lives: on this host, since this boot, and not this very process.

    The start time tells it from a later process with the same number (proc(5), field 22 of ``stat``).
    """
    found = _OWNER.match(owner)
    if found is None or found["host"] != socket.gethostname() or found["boot"] != _boot():
        return False
    pid = int(found["pid"])
    return pid != os.getpid() and _started(pid) == int(found["start"])


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _started(pid: int) -> int:
    """Clock ticks from boot to the start of a process; 0 if there is none, or it has ended and waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])

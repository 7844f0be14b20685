"""Which process owns a rollout, and whether it still lives: only the same host and boot can tell."""

from __future__ import annotations

import os
import re
import socket

from tfsdeploy.processes import Identity, boot_id, identity, who
from tfsdeploy.processes import is_alive as alive

_OWNER = re.compile(r"(?P<who>\S+)@(?P<host>\S+) pid (?P<pid>\d+) start (?P<start>\d+) boot (?P<boot>\S+)\Z")


def this_process() -> str:
    """This process, as `Rollout.by` names it."""
    here = identity(os.getpid())
    assert here is not None
    return f"{who()} pid {here.pid} start {here.start} boot {boot_id()}"


def is_alive(owner: str) -> bool:
    """Whether a rollout's owner certainly lives: on this host, since this boot, and not this very process."""
    found = _OWNER.match(owner)
    if found is None or found["host"] != socket.gethostname() or found["boot"] != boot_id():
        return False
    process = Identity(int(found["pid"]), int(found["start"]))
    return process.pid != os.getpid() and alive(process)

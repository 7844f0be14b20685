"""Staging folders: where a version is put together, under a name that TF Serving cannot take for a version."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from pathlib import Path

PREFIX = ".staging-"
OWNER = ".owner.json"

# A publisher on another machine cannot be asked whether it lives; none takes a day.
DAY_SECONDS = 24 * 3600


def make(folder: Path) -> Path:
    """A new staging folder inside ``folder``, marked with the process that owns it."""
    staging = folder / f"{PREFIX}{uuid.uuid4().hex}"
    staging.mkdir()
    (staging / OWNER).write_text(json.dumps(owner(os.getpid())))
    return staging


def sweep(folder: Path) -> None:
    """Remove what dead publishers left; never what may still be written to."""
    for staging in folder.glob(f"{PREFIX}*"):
        if _is_abandoned(staging):
            shutil.rmtree(staging, ignore_errors=True)


def owner(pid: int) -> dict[str, object]:
    """Who a process is, so that nobody takes another one with the same number for it."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": pid, "started": _started(pid)}


def _is_abandoned(staging: Path) -> bool:
    try:
        age = time.time() - staging.stat().st_mtime
        who = json.loads((staging / OWNER).read_bytes())
        if who["host"] == socket.gethostname():
            return bool(who["boot"] != _boot() or _started(int(who["pid"])) != who["started"])
    except (OSError, ValueError, KeyError, TypeError):
        # No owner yet, or a foreign one: only age tells.
        try:
            age = time.time() - staging.stat().st_mtime
        except OSError:
            return False
    return age > DAY_SECONDS


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)): clock ticks since boot; None if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None

"""Staging folders: where a version is put together, under a name that TF Serving cannot take for a version.

MODEL/.staging-ID/owner.json    who works in it
MODEL/.staging-ID/version/      what will be renamed to MODEL/N
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tfsdeploy.processes import ENDED, boot_id, stat

PREFIX = ".staging-"
_SWEPT = f"{PREFIX}swept-"
_OWNER = "owner.json"
_STILL_OPEN = (errno.ENOTEMPTY, errno.EBUSY)

# A publisher on another machine cannot be asked whether it lives; none takes a day.
DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a process is, so that nobody takes another one with the same number for it.

    Attributes:
        host: the machine's name.
        machine: its machine-id(5), as names are not unique; empty if it has none.
        boot: which boot of it.
        namespace: the PID namespace that ``pid`` is a number of: containers of one machine share its boot.
        pid: of the process.
        started: when, in clock ticks since boot.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: int | None


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A folder to put a version together in; gone afterwards with what is left in it.

    Args:
        folder: the model's folder.

    Yields:
        an empty folder, on the same file system, to be filled and renamed away.
    """
    outer = folder / f"{PREFIX}{uuid.uuid4().hex}"
    outer.mkdir()
    try:
        (outer / _OWNER).write_text(json.dumps(asdict(owner(os.getpid()))))
        inner = outer / "version"
        inner.mkdir()
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what dead publishers left in a model's folder; never what may still be written to."""
    for left in folder.glob(f"{PREFIX}*"):
        if left.name.startswith(_SWEPT):
            shutil.rmtree(left, ignore_errors=True)
        elif _is_abandoned(left):
            # Out of its owner's sight first: if it lives after all, it fails instead of committing what is left.
            doomed = folder / f"{_SWEPT}{uuid.uuid4().hex}"
            with suppress(OSError):
                left.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True) if doomed.is_dir() else doomed.unlink()


def remove(path: Path) -> None:
    """Take a version out of everybody's sight at once, and then its files; `sweep` finishes what is interrupted.

    Of what a model server of this machine has open, NFS keeps a file under another name until it lets go of it: that is
    for `sweep`, too.

    Raises:
        OSError: it cannot be moved or removed.
    """
    doomed = path.with_name(f"{_SWEPT}{uuid.uuid4().hex}")
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    try:
        shutil.rmtree(doomed)
    except OSError as error:
        if error.errno not in _STILL_OPEN:
            raise


def owner(pid: int) -> Owner:
    """Who a process of this machine and PID namespace is."""
    machine = Path("/etc/machine-id")
    return Owner(
        host=socket.gethostname(),
        machine=machine.read_text().strip() if machine.is_file() else "",
        boot=boot_id(),
        namespace=str(Path("/proc/self/ns/pid").readlink()),
        pid=pid,
        started=_started(pid),
    )


def lives(who: Owner, here: Owner) -> bool | None:
    """Whether a process is there; None if that cannot be known from here.

    Args:
        who: the process.
        here: any process of this machine and PID namespace, now.
    """
    if (who.boot, who.namespace) == (here.boot, here.namespace):
        return _is_there(who)
    if who.boot != here.boot and here.machine and (who.host, who.machine) == (here.host, here.machine):
        return False
    return None


def _is_abandoned(left: Path) -> bool:
    try:
        alive = lives(Owner(**json.loads((left / _OWNER).read_bytes())), owner(os.getpid()))
    except (OSError, ValueError, TypeError):
        # No owner yet, or one that another tfsdeploy wrote.
        alive = None
    if alive is not None:
        return not alive
    try:
        return time.time() - left.stat().st_mtime > DAY_SECONDS
    except OSError:
        return False


def _is_there(who: Owner) -> bool:
    try:
        os.kill(who.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    found = stat(who.pid)
    # /proc mounted with hidepid shows nothing of other users' processes, which kill(2) has just found.
    return found is None or (found[0] not in ENDED and int(found[19]) == who.started)


def _started(pid: int) -> int | None:
    found = stat(pid)
    return None if found is None else int(found[19])

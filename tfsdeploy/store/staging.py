"""Staging folders: where a version is put together, under a name that TF Serving cannot take for a version.

MODEL/.staging-ID/owner.json    who works in it
MODEL/.staging-ID/released      that nobody does any more: its owner was interrupted
MODEL/.staging-ID/version/      what will be renamed to MODEL/N

What an interrupted or killed publisher has left, the next one moves into a place of its own and goes on with, if it is
sure that nobody can write there any more. It is material only: `tidy` and who copies look at every byte again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG

from tfsdeploy.processes import ENDED, boot_id, stat

PREFIX = ".staging-"
_SWEPT = f"{PREFIX}swept-"
_OWNER = "owner.json"
_RELEASED = "released"
_VERSION = "version"
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
def staging(folder: Path, sizes: Mapping[str, int]) -> Iterator[Path]:
    """A folder to put a version together in; gone afterwards with what is left in it, unless that was interrupted.

    Args:
        folder: the model's folder.
        sizes: bytes of the files that it is to hold, by relative path with ``/``.

    Yields:
        a folder on the same file system, to be filled and renamed away: empty, or with what an interrupted publisher of
        such files had there, which is to be looked at anew.
    """
    outer = folder / f"{PREFIX}{uuid.uuid4().hex}"
    outer.mkdir()
    try:
        (outer / _OWNER).write_text(json.dumps(asdict(owner(os.getpid()))))
        inner = outer / _VERSION
        if not _moved_here(folder, inner, sizes):
            inner.mkdir()
        yield inner
    except Exception:
        shutil.rmtree(outer, ignore_errors=True)
        raise
    except BaseException:
        # Ctrl-C, or time is up: the same push goes on here, on another machine, too.
        if (outer / _VERSION).is_dir():
            with suppress(OSError):
                (outer / _RELEASED).touch()
        else:
            shutil.rmtree(outer, ignore_errors=True)
        raise
    else:
        shutil.rmtree(outer, ignore_errors=True)


def tidy(place: Path, names: Collection[str]) -> None:
    """Leave in a staging folder nothing but plain files of certain names that are nobody else's.

    A file of another user, or one that has another name elsewhere, could be written after it was looked at.

    Args:
        place: what `staging` gave.
        names: relative paths with ``/``.

    Raises:
        OSError: something cannot be removed.
    """
    user = place.parent.stat().st_uid
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for base, below, files in os.walk(place, topdown=False):
        for name in (*files, *below):
            path = Path(base, name)
            relative, seen = path.relative_to(place).as_posix(), path.lstat()
            if S_ISDIR(seen.st_mode):
                if relative not in folders or seen.st_uid != user:
                    shutil.rmtree(path)
                else:
                    path.chmod(0o755)
            elif not (S_ISREG(seen.st_mode) and relative in names and (seen.st_uid, seen.st_nlink) == (user, 1)):
                path.unlink()


def _moved_here(folder: Path, inner: Path, sizes: Mapping[str, int]) -> bool:
    """Move what an interrupted publisher has left to our own place: of several the one with most of these files.

    Of two that want it one gets it, as the rename is one step; the other one finds nothing, and begins anew.
    """
    found: list[tuple[int, Path]] = []
    for left in folder.glob(f"{PREFIX}*"):
        version = left / _VERSION
        with suppress(OSError):
            # Not on the ground of age alone: who sleeps for a day on another machine may have its files open still.
            if (
                not left.name.startswith(_SWEPT)
                and _is_over(left)
                and version.lstat().st_uid == inner.parent.stat().st_uid
            ):
                found.append((_like(version, sizes), version))
    for like, version in sorted(found, reverse=True):
        with suppress(OSError):
            if like:
                version.rename(inner)
                return True
    return False


def _like(version: Path, sizes: Mapping[str, int]) -> int:
    """Bytes of the files there that have a name and size of ours."""
    found = 0
    for name, size in sizes.items():
        with suppress(OSError):
            found += size if (version / name).lstat().st_size == size else 0
    return found


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
    if (over := _is_over(left)) is not None:
        return over
    try:
        return time.time() - left.stat().st_mtime > DAY_SECONDS
    except OSError:
        return False


def _is_over(left: Path) -> bool | None:
    """Whether the publisher of a staging folder is known to have ended, or to live; None if neither is known."""
    if (left / _RELEASED).exists():
        return True
    try:
        alive = lives(Owner(**json.loads((left / _OWNER).read_bytes())), owner(os.getpid()))
    except (OSError, ValueError, TypeError):
        # No owner yet, or one that another tfsdeploy wrote.
        return None
    return None if alive is None else not alive


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

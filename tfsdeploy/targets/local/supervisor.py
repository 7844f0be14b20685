"""The supervisor: one a fleet, keeps the processes of its units running. `python -m …supervisor FOLDER`

    FOLDER/supervisor/units/NAME.json   what should run, written by the target; the supervisor only reads
    FOLDER/supervisor/observed.json     what runs, written by the supervisor; everybody reads
    FOLDER/supervisor/lock              held (flock) for the supervisor's life: there is one

It may be killed at any moment: its processes go on, and the next supervisor finds them by their mark, holds them by
a pidfd, and never starts a second copy. The standard library only, one thread, asleep most of the time.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType

from tfsdeploy.files import replace_file
from tfsdeploy.processes import boot_id, identity
from tfsdeploy.targets.local.kept import KeptUnit
from tfsdeploy.targets.local.logs import LOG_BYTES, LOG_FILES, rotate
from tfsdeploy.targets.local.process import MARK, Handle, marked
from tfsdeploy.targets.local.units import (
    Observed,
    ProcessSpec,
    UnitSeen,
    UnitSpec,
    observed_to_text,
    unit_from_text,
)

RESTING_SECONDS = 0.1
"""How soon a new or changed unit file is noticed."""

MOVING_SECONDS = 0.02
"""How soon a gate file is noticed."""

ROTATION_SECONDS = 1.0


class Supervisor:
    """Keeps the units of one fleet folder.

    Args:
        folder: the fleet's state folder, absolute.
        env: the environment that every process gets.
        log_bytes: how large a log may grow before it is rotated.
        log_files: how many older logs are kept.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str], *, log_bytes: int = LOG_BYTES, log_files: int = LOG_FILES
    ) -> None:
        self._folder = folder
        self._home = folder / "supervisor"
        self._env = {name: value for name, value in env.items() if name != MARK}
        self._log_bytes = log_bytes
        self._log_files = log_files
        self._units: dict[str, KeptUnit] = {}
        self._files: dict[str, tuple[int, int]] = {}
        self._orphans: dict[str, dict[str, Handle]] = defaultdict(dict)
        self._told: dict[str, UnitSeen] | None = None
        self._rotate_at = 0.0
        self._boot = boot_id()
        who = identity(os.getpid())
        assert who is not None
        self._who = who

    def adopt(self) -> None:
        """Find what an earlier supervisor left running; what no unit file asks for is ended."""
        for mark, process in marked(self._folder):
            unit, _, name = mark.partition("/")
            handle = Handle.open(process) if process != self._who else None
            if handle is not None:
                self._orphans[unit][name] = handle
        now = time.monotonic()
        self._read_units(now)
        for unit, handles in self._orphans.items():
            stray = _stray(unit, handles)
            self._units[unit] = KeptUnit(stray, self._folder, self._env, handles, now)
        self._orphans.clear()

    def step(self, now: float) -> None:
        """Do what this moment asks for, and tell what is."""
        if not self._home.is_dir():
            self._files = {}
            for unit in self._units.values():
                unit.leave("now")
        else:
            self._read_units(now)
        for name, unit in list(self._units.items()):
            unit.step(now)
            if unit.gone and name not in self._files:
                del self._units[name]
        if now >= self._rotate_at:
            self._rotate_at = now + ROTATION_SECONDS
            self._rotate()
        self._tell()

    def sleep(self) -> None:
        """Wait until a process ends, or for a moment."""
        moving = any(unit.moving for unit in self._units.values())
        ends = [p.descriptor for unit in self._units.values() for p in unit.processes if p.descriptor is not None]
        select.select(ends, [], [], MOVING_SECONDS if moving else RESTING_SECONDS)

    @property
    def done(self) -> bool:
        """Whether the fleet's folder is gone, and everything that ran for it."""
        return not self._units and not self._home.is_dir()

    def _read_units(self, now: float) -> None:
        try:
            files = _files_of(self._home / "units")
        except FileNotFoundError:
            return  # being removed at this moment; the next step sees it whole
        for name in self._files.keys() - files.keys():
            if name in self._units:
                self._units[name].leave("drain")
        for name, identity_of_file in files.items():
            if self._files.get(name) != identity_of_file:
                self._read_unit(name, now)
        self._files = files

    def _read_unit(self, name: str, now: float) -> None:
        try:
            spec = unit_from_text((self._home / "units" / f"{name}.json").read_bytes())
        except (OSError, ValueError) as error:
            print(f"unit {name} cannot be read: {error}", file=sys.stderr, flush=True)
            return
        if name not in self._units:
            self._units[name] = KeptUnit(spec, self._folder, self._env, self._orphans.pop(name, {}), now)
        elif spec.leaving is not None:
            self._units[name].leave(spec.leaving)

    def _rotate(self) -> None:
        for unit in self._units.values():
            for process in unit.processes:
                try:
                    rotate(Path(process.spec.log), limit=self._log_bytes, files=self._log_files)
                except OSError as error:
                    print(f"{process.spec.log} cannot be rotated: {error}", file=sys.stderr, flush=True)

    def _tell(self) -> None:
        seen = {name: unit.seen() for name, unit in sorted(self._units.items())}
        if seen == self._told or not self._home.is_dir():
            return
        try:
            text = observed_to_text(Observed(self._boot, self._who, seen))
            replace_file(self._home / "observed.json", text, lasting=False)
            self._told = seen
        except OSError as error:
            # A full disk ends neither the processes nor their supervisor; it is told when there is room again.
            print(f"observed.json cannot be written: {error}", file=sys.stderr, flush=True)


def _files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The unit files by name, with what changes whenever one is replaced."""
    found: dict[str, tuple[int, int]] = {}
    for entry in os.scandir(folder):
        if entry.name.endswith(".json") and not entry.name.startswith("."):
            stat = entry.stat()
            found[entry.name.removesuffix(".json")] = (stat.st_mtime_ns, stat.st_ino)
    return found


def _stray(name: str, handles: Mapping[str, Handle]) -> UnitSpec:
    """What stands in for a unit whose file is gone while its processes run: only fit to leave."""
    processes = tuple(ProcessSpec(process, (), {}, "/", "/dev/null") for process in sorted(handles))
    return replace(UnitSpec(name, "replica", 0, "", (), {}, processes), leaving="drain")


def lock(folder: Path) -> int | None:
    """Become the one supervisor of a folder; None if there is one already. Close the result to end that."""
    descriptor = os.open(folder / "supervisor" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def main(arguments: list[str]) -> int:
    """Supervise the folder that is named, until SIGTERM (its processes go on) or until the folder is gone."""
    folder = Path(arguments[0])
    os.chdir("/")
    if lock(folder) is None:
        return 0
    ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    # Handlers, not SIG_IGN: what is ignored stays ignored in every process that is started.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: None)
    supervisor = Supervisor(folder, os.environ)
    supervisor.adopt()
    while not ended and not supervisor.done:
        supervisor.step(time.monotonic())
        supervisor.sleep()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

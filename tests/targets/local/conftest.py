"""A real supervisor over tiny real processes, in a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tfsdeploy.files import replace_file
from tfsdeploy.processes import Identity
from tfsdeploy.targets.local.process import end_all, marked
from tfsdeploy.targets.local.units import (
    Leaving,
    Observed,
    ProcessSeen,
    ProcessSpec,
    UnitSpec,
    observed_from_text,
    unit_to_text,
)

WAIT_SECONDS = 60.0


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fail with ``what`` if it is not in time."""
    until = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < until, f"never happened: {what}"
        time.sleep(0.01)


@dataclass
class Bench:
    """A fleet folder with a supervisor that the test starts and kills as it likes."""

    folder: Path
    supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.supervisor = subprocess.Popen(
            [sys.executable, "-m", "tfsdeploy.targets.local.supervisor", str(self.folder)], env=dict(os.environ)
        )
        mine = self.supervisor.pid
        eventually(lambda: (o := self.observed()) is not None and o.supervisor.pid == mine, "the supervisor tells")

    def kill(self) -> None:
        assert self.supervisor is not None
        self.supervisor.kill()
        self.supervisor.wait()

    def process(self, name: str, code: str, **more: object) -> ProcessSpec:
        """A process that runs some lines of Python in the fleet folder."""
        argv = (sys.executable, "-I", "-S", "-u", "-c", code)
        spec = ProcessSpec(name, argv, {}, str(self.folder), str(self.folder / "logs" / f"u.{name}.log"))
        return replace(spec, **more)  # type: ignore[arg-type]

    def unit(self, *processes: ProcessSpec, name: str = "u") -> UnitSpec:
        unit = UnitSpec(name, "replica", 1, "d", (), {}, processes)
        self.write(unit)
        return unit

    def write(self, unit: UnitSpec) -> None:
        replace_file(self.folder / "supervisor" / "units" / f"{unit.name}.json", unit_to_text(unit), lasting=False)

    def leave(self, unit: UnitSpec, how: Leaving = "drain") -> None:
        self.write(replace(unit, leaving=how))

    def observed(self) -> Observed | None:
        try:
            return observed_from_text((self.folder / "supervisor" / "observed.json").read_bytes())
        except FileNotFoundError:
            return None

    def seen(self, process: str, unit: str = "u") -> ProcessSeen | None:
        observed = self.observed()
        if observed is None or unit not in observed.units:
            return None
        return observed.units[unit].processes.get(process)

    def running(self, process: str, unit: str = "u") -> Identity:
        """Who the process is, as soon as it runs."""
        found: list[Identity] = []

        def runs() -> bool:
            seen = self.seen(process, unit)
            if seen is not None and seen.process is not None:
                found.append(seen.process)
            return bool(found)

        eventually(runs, f"{process} runs")
        return found[0]

    def gone(self, unit: str = "u") -> bool:
        observed = self.observed()
        return observed is not None and (unit not in observed.units or observed.units[unit].gone)

    def text(self, name: str) -> str:
        file = self.folder / name
        return file.read_text() if file.exists() else ""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "fleet"
    (folder / "supervisor" / "units").mkdir(parents=True)
    bench = Bench(folder)
    yield bench
    if bench.supervisor is not None:
        bench.kill()
    # A test may have moved it.
    end_all([process for _, process in marked(bench.folder, leaders=False)], grace=0.2)

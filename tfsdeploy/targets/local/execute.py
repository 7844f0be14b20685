"""Carry out a plan on this machine: hand units to the supervisor, wait until they are in use, see old ones off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.protocol.agents import BEAT_SECONDS
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.report import Report
from tfsdeploy.targets.local.readiness import trouble
from tfsdeploy.targets.local.state import FleetFolder
from tfsdeploy.targets.local.units import Leaving, UnitSpec
from tfsdeploy.targets.plan import Kind, Plan, Remove, Replace, Start, Step
from tfsdeploy.targets.readiness import gateway_lacks, replica_lacks
from tfsdeploy.targets.statuses import gateway_status, replica_status

LOOK_SECONDS = 0.05

IN_USE_SECONDS = BEAT_SECONDS
"""From a replica's own word that it is ready until every gateway surely routes to it: they follow it by long poll."""

Make = Callable[[Kind, str, int], None]
"""Makes a unit: writes its files and hands it to the supervisor."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Walks a plan; decides nothing.

    Args:
        folder: the fleet's state.
        make: how a unit is made.
        report: hears of every step and what is waited for.
        timeout: seconds that one step may take.
    """

    folder: FleetFolder
    make: Make
    report: Report
    timeout: float

    def run(self, plan: Plan) -> None:
        """Every step in its order; starts that follow each other at once, and removals too.

        Raises:
            TfsdeployError: a step took too long; says what is missing and what stands.
        """
        for _, group in groupby(plan.steps, key=type):
            steps = list(group)
            if isinstance(steps[0], Start | Remove):
                self._together(steps)
                continue
            for step in steps:
                self._one(step)

    def see_off(self, names: Sequence[str], how: Leaving, timeout: float) -> None:
        """Let units leave, and forget them when nothing of them runs.

        Raises:
            TfsdeployError: they did not leave in time; they still may.
        """
        units = self.folder.units()
        leaving = [unit for name in names if (unit := units.get(name)) is not None]
        for unit in leaving:
            if unit.leaving not in (how, "now"):
                self.folder.write_unit(replace(unit, leaving=how))
        self._wait(
            lambda: [f"{unit.name} still runs" for unit in leaving if not self._is_gone(unit)],
            timeout,
            "it is still asked to leave; run `tfsdeploy up` again to see it off",
        )
        for unit in leaving:
            self.folder.forget_unit(unit)

    def _together(self, steps: Sequence[Step]) -> None:
        """Starts, which are waited for, or removals: what stays is ready before anything leaves."""
        for step in steps:
            self.report.say(str(step))
            if isinstance(step, Start):
                self.make(step.kind, step.name, step.ordinal)
        leaving = [step.name for step in steps if isinstance(step, Remove)]
        starting = [step.name for step in steps if isinstance(step, Start)]
        self._wait_ready(starting or [name for name in self._wanted() if name not in leaving])
        if leaving:
            self.see_off(leaving, "drain", self._leaving_seconds(leaving))

    def _one(self, step: Step) -> None:
        self.report.say(str(step))
        if isinstance(step, Replace):
            self.make(step.kind, step.name, step.ordinal)
            self._wait_ready([step.name])
            time.sleep(IN_USE_SECONDS)
            self.see_off([step.old], "drain", self._leaving_seconds([step.old]))
        else:
            # A supervisor that was started anew: over a reboot everything ended, and gateways alone serve nothing.
            self._wait_ready(self._wanted())

    def _wanted(self) -> list[str]:
        return [unit.name for unit in self.folder.units().values() if unit.leaving is None]

    def _wait_ready(self, names: Iterable[str]) -> None:
        wanted = set(names)
        units = [unit for name, unit in self.folder.units().items() if name in wanted]
        self._wait(
            lambda: [why for unit in units if (why := self._lacks(unit)) is not None],
            self.timeout,
            "what served before serves on; see `tfsdeploy logs`, mend the cause and run `tfsdeploy up` again",
        )

    def _wait(self, missing: Callable[[], list[str]], timeout: float, hint: str) -> None:
        until = time.monotonic() + timeout
        told = ""
        while lacking := missing():
            text = "; ".join(lacking)
            if time.monotonic() > until:
                raise TfsdeployError(f"not done within {timeout:.0f} s: {text}", hint=hint)
            if text != told:
                self.report.waiting(text)
                told = text
            time.sleep(LOOK_SECONDS)

    def _leaving_seconds(self, names: Iterable[str]) -> float:
        """As long as the supervisor gives a unit's processes one after the other, and its own time."""
        units = self.folder.units()
        return 10.0 + max((sum(p.stop_seconds for p in units[n].processes) for n in names if n in units), default=0.0)

    def _is_gone(self, unit: UnitSpec) -> bool:
        observed = self.folder.observed()
        if observed is None:
            raise TfsdeployError(
                "the fleet's supervisor ended meanwhile; everything it started runs on",
                where=str(self.folder.logs / "supervisor.log"),
                hint="run `tfsdeploy up` again",
            )
        seen = observed.units.get(unit.name)
        return seen is not None and seen.gone

    def _lacks(self, unit: UnitSpec) -> str | None:
        url = f"http://127.0.0.1:{unit.ports['agent']}"
        lacking: str | None
        if unit.kind == "gateway":
            gateway = gateway_status(url)
            lacking = self._trouble(unit) if gateway is None else gateway_lacks(gateway)
        else:
            replica = replica_status(url)
            lacking = self._trouble(unit) if replica is None else replica_lacks(replica, self._generation())
        return None if lacking is None else f"{unit.name}: {lacking}"

    def _trouble(self, unit: UnitSpec) -> str:
        observed = self.folder.observed()
        return "its supervisor does not run" if observed is None else trouble(observed.units.get(unit.name))

    def _generation(self) -> int:
        release = ReleaseFolder(self.folder.path).read()
        return 0 if release is None else release.generation

"""Carry out a plan on an engine: start containers, wait until they are in use, see old ones off. Decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.protocol.agents import BEAT_SECONDS
from tfsdeploy.render.containers import GATEWAY_DRAIN_SECONDS
from tfsdeploy.render.docker.container import LABEL, Container, Kind, network_name, run_volume
from tfsdeploy.render.docker.containers import gateway, keeper, replica
from tfsdeploy.render.docker.shape import labels
from tfsdeploy.report import Report
from tfsdeploy.targets.docker.engine import Engine, NetworkGone
from tfsdeploy.targets.docker.observed import ON_HOST, Seen
from tfsdeploy.targets.docker.plan import Mend, Renew, Step
from tfsdeploy.targets.docker.reach import Reach
from tfsdeploy.targets.docker.refusals import busy_port
from tfsdeploy.targets.docker.state import StateVolume
from tfsdeploy.targets.plan import NAMES, Remove, Replace, Start
from tfsdeploy.targets.readiness import gateway_lacks, replica_lacks
from tfsdeploy.targets.statuses import gateway_status, replica_status

LOOK_SECONDS = 0.1

IN_USE_SECONDS = BEAT_SECONDS
"""From a replica's own word that it is ready until every gateway surely routes to it: they follow it by long poll."""

LEAVING_SECONDS = 80
"""How long an agent may take to leave: every gateway has acknowledged, or has not been heard of for a lease."""

ENDING_SECONDS = 10

AT_A_TIME = 4
"""Units whose containers are made at a time."""

LAST_LINES = 3
ENVOY_LINES = 10


class Executor:
    """Walks a plan.

    Args:
        engine: where.
        fleet: what is wanted.
        reach: how agents are asked.
        state: the fleet's.
        report: hears of every step and what is waited for.
        timeout: seconds that one step may take.
    """

    def __init__(
        self, engine: Engine, fleet: Fleet, reach: Reach, state: StateVolume, report: Report, timeout: float
    ) -> None:
        self._engine = engine
        self._fleet = fleet
        self._reach = reach
        self._report = report
        self._timeout = timeout
        self._state = state

    def run(self, steps: Sequence[Step]) -> None:
        """Every step in its order; mends, starts and removals that follow each other at once.

        Raises:
            TfsdeployError: a step took too long; says what is missing and what stands.
        """
        for kind, group in groupby(steps, key=type):
            if kind in (Replace, Renew):
                for step in group:
                    self._report.say(str(step))
                    self._one(step)
            else:
                self._together(list(group))

    def _together(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._report.say(str(step))
        coming = [step for step in steps if isinstance(step, Mend | Start)]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda step: self._start(step.kind, step.ordinal), coming))
        self._wait_ready([step.name for step in coming])
        leaving = [step.name for step in steps if isinstance(step, Remove)]
        see_off(self._engine, self._state, self._fleet.name, leaving)

    def _one(self, step: Step) -> None:
        name = self._fleet.name
        if isinstance(step, Replace):
            self._start(step.kind, step.ordinal)
            self._wait_ready([step.name])
            time.sleep(IN_USE_SECONDS)
            see_off(self._engine, self._state, name, [step.old])
        elif isinstance(step, Renew) and step.kind == "state":
            self._engine.stop(step.name, ENDING_SECONDS)
            self._engine.remove(step.name)
            start(self._engine, self._fleet, keeper(self._fleet))
        elif isinstance(step, Renew):
            if self._fleet.gateway.replicas == 1:
                said = f"{step.name} is the only gateway: its ports are closed while it is renewed"
                self._report.warn(f"{said}; with gateway.network: host they are not")
            see_off(self._engine, self._state, name, [step.name])
            self._start(step.kind, step.ordinal)
            self._wait_ready([step.name])
            # The next one leaves when whoever stands in front of the gateways has seen that this one is back.
            time.sleep(GATEWAY_DRAIN_SECONDS)

    def _start(self, kind: Kind, ordinal: int) -> None:
        """The parts of a unit that are not there, and those that do not run."""
        make: Callable[[Fleet, int], tuple[Container, ...]] = gateway if kind == "gateway" else replica
        there = {seen.name: seen for seen in self._engine.observed(self._fleet.name)}
        lone = [seen for seen in there.values() if seen.lone and seen.unit == NAMES[kind](self._fleet.name, ordinal)]
        for container in make(self._fleet, ordinal):
            found = there.get(container.name)
            if found is None:
                start(self._engine, self._fleet, container)
            elif not found.runs:
                start_again(self._engine, self._fleet, container)
            elif found.lone:
                self._engine.join(container.name, network_name(self._fleet.name))
                # Its ports are published, and names looked up anew, when it starts.
                self._engine.restart(container.name)
        if lone:
            # Its connections to what had another address have never been ended.
            self._engine.restart(f"{lone[0].unit}-agent")

    def _wait_ready(self, names: Sequence[str]) -> None:
        until, told = time.monotonic() + self._timeout, ""
        while names and (lacking := self._lacking(names)):
            text = "; ".join(lacking)
            if time.monotonic() > until:
                raise TfsdeployError(
                    f"not done within {self._timeout:.0f} s: {text}",
                    hint="what served before serves on; mend the cause and run `tfsdeploy up` again",
                )
            if text != told:
                self._report.waiting(text)
                told = text
            time.sleep(LOOK_SECONDS)

    def _lacking(self, names: Sequence[str]) -> list[str]:
        there = self._engine.observed(self._fleet.name)
        release = self._state.read()
        generation = 0 if release is None else release.generation
        return [f"{name}: {why}" for name in names if (why := self._lacks(name, there, generation)) is not None]

    def _lacks(self, name: str, there: Sequence[Seen], generation: int) -> str | None:
        parts = [seen for seen in there if seen.unit == name]
        for part in parts:
            if part.state != "running":
                lines = list(self._engine.log_lines(part.name, follow=False, tail=LAST_LINES))
                return f"its {part.part} is {part.status.lower()}: {' / '.join(lines)}"
        agent = next((seen for seen in parts if seen.part == "agent"), None)
        if agent is None:
            return "its agent is gone"
        url = self._reach.url(agent)
        if agent.kind == "gateway":
            gateway_said = gateway_status(url)
            lacking = "its agent is starting" if gateway_said is None else gateway_lacks(gateway_said)
            if lacking is not None:
                self._see_ports(parts)
            return lacking
        replica_said = replica_status(url)
        return "its agent is starting" if replica_said is None else replica_lacks(replica_said, generation)

    def _see_ports(self, parts: Sequence[Seen]) -> None:
        """Refuse to wait for a port of the host that somebody else has, or only root may have: Envoy alone knows.

        It tries once; removed, it is made anew by the next `up`, which finds it missing.

        Raises:
            TfsdeployError: says which.
        """
        for envoy in (part for part in parts if ON_HOST in part.shape and part.part == "envoy"):
            lines = self._engine.log_lines(envoy.name, follow=False, tail=ENVOY_LINES)
            if (busy := busy_port(" ".join(lines), envoy.name)) is not None:
                self._engine.remove(envoy.name)
                raise busy


def start(engine: Engine, fleet: Fleet, container: Container) -> None:
    """Make one container with its volumes, and start it."""
    ours = {f"{LABEL}.fleet": fleet.name}
    for mount in container.mounts:
        if mount.kind == "volume" and mount.made:
            engine.make_volume(mount.source, ours)
    engine.start(container, network_name(fleet.name), labels(fleet, container))


def start_again(engine: Engine, fleet: Fleet, container: Container) -> None:
    """Start a container that was stopped; anew, if its network was removed: all that it knows is in volumes."""
    try:
        engine.start_again(container.name)
    except NetworkGone:
        engine.remove(container.name)
        start(engine, fleet, container)
    # One that was taken from its network starts without any.
    if any(seen.name == container.name and seen.lone for seen in engine.observed(fleet.name)):
        engine.join(container.name, network_name(fleet.name))


def see_off(engine: Engine, state: StateVolume, fleet_name: str, names: Sequence[str]) -> None:
    """Let units leave, and remove what is left of them: the agent first, which ends when nobody uses the unit."""
    there = [seen for seen in engine.observed(fleet_name) if seen.unit in names]
    for seen in sorted(there, key=lambda seen: (seen.unit, seen.part != "agent")):
        engine.stop(seen.name, LEAVING_SECONDS if seen.part == "agent" else ENDING_SECONDS)
    for seen in there:
        engine.remove(seen.name)
    for name in {seen.unit for seen in there}:
        engine.remove_volume(run_volume(name))
    if gone := [seen.unit for seen in there if seen.kind == "replica" and seen.part == "agent"]:
        state.forget(gone)

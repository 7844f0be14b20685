"""Change the shape of a fleet on an engine: what `up` does there, apart from the steps themselves."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.fleet.model import Fleet, to_plain
from tfsdeploy.render.docker.container import HANDED, LABEL, network_name
from tfsdeploy.render.docker.containers import containers, keeper
from tfsdeploy.render.docker.shape import digest, shape
from tfsdeploy.report import Report
from tfsdeploy.store.handed import to_hand_over
from tfsdeploy.targets.docker.apply import Executor, start, start_again
from tfsdeploy.targets.docker.engine import Engine
from tfsdeploy.targets.docker.host_ports import shared_port
from tfsdeploy.targets.docker.observed import Seen
from tfsdeploy.targets.docker.plan import Shapes, Step, docker_plan
from tfsdeploy.targets.docker.reach import Reach
from tfsdeploy.targets.docker.state import StateVolume
from tfsdeploy.targets.plan import Kind, Wanted
from tfsdeploy.targets.settings import settings_of


class Shaping:
    """What the file of one fleet asks for, and the engine that is to have it.

    Args:
        engine: where the fleet lives.
        state: its state.
        reach: how its agents are asked.
        fleet: what is wanted.
    """

    def __init__(self, engine: Engine, state: StateVolume, reach: Reach, fleet: Fleet) -> None:
        self._engine = engine
        self._state = state
        self._reach = reach
        self._fleet = fleet

    def plan(self) -> tuple[Step, ...]:
        """What is to be done."""
        lines, fleet = shape(self._fleet, "state"), self._fleet
        wanted = Shapes(
            digest(lines),
            lines,
            _wanted(fleet, "replica", fleet.serving.replicas),
            _wanted(fleet, "gateway", fleet.gateway.replicas),
        )
        return docker_plan(fleet.name, wanted, self._engine.observed(fleet.name))

    @contextmanager
    def exclusive(self, report: Report) -> Iterator[None]:
        """Nobody else changes the shape of this fleet meanwhile.

        Raises:
            Busy: somebody else does.
            TfsdeployError: the engine does not answer, has not the agents' image, or another fleet has the ports.
        """
        # Said before anything is made: ports, and a store that containers do not reach.
        wanted = containers(self._fleet)
        if self._fleet.gateway.network == "host":
            taken = shared_port(wanted, self._engine.elsewhere(self._fleet.name))
            if taken is not None:
                raise taken
        there = self._engine.observed(self._fleet.name)
        self._bring_keeper(there, report)
        with self._state.held(f"process {os.getpid()} on {socket.gethostname()}"):
            try:
                yield
            finally:
                if not there and self._state.settings() is None:
                    # Nothing came of it.
                    remove_rest(self._engine, self._fleet.name)

    def prepare(self, report: Report) -> None:
        """See that images and the store's volume are there, and write the settings, before the first replica starts.

        Raises:
            TfsdeployError: something is missing; nothing was started.
        """
        for image in sorted({container.image for container in containers(self._fleet)}):
            self._engine.need_image(image, report)
        for name in sorted({mount.source for one in containers(self._fleet) for mount in one.mounts if not mount.made}):
            if not self._engine.has_volume(name):
                hint = f"`docker volume create {name}` makes it, or name another one in the fleet file"
                raise TfsdeployError(f"the engine has no volume {name}", where=self._fleet.store.url, hint=hint)
        if is_object_store(self._fleet.store.url):
            files = to_hand_over(self._fleet.store.url, to_plain(self._fleet.store.options), os.environ, HANDED)
            if self._state.hand_over(files):
                report.say("credentials of the store are handed over to the replicas")
        self._state.write_settings(settings_of(self._fleet, "docker", ""))

    def apply(self, report: Report, timeout: float) -> None:
        """Make the shape as the fleet file says, one replica or gateway at a time.

        Raises:
            TfsdeployError: something did not become ready in time; what served before serves on.
        """
        Executor(self._engine, self._fleet, self._reach, self._state, report, timeout).run(self.plan())

    def _bring_keeper(self, there: Sequence[Seen], report: Report) -> None:
        found = next((seen for seen in there if seen.kind == "state"), None)
        self._engine.make_network(network_name(self._fleet.name), {f"{LABEL}.fleet": self._fleet.name})
        if found is None:
            self._engine.need_image(keeper(self._fleet).image, report)
            start(self._engine, self._fleet, keeper(self._fleet))
        elif not found.runs:
            start_again(self._engine, self._fleet, keeper(self._fleet))


def remove_rest(engine: Engine, fleet_name: str) -> None:
    """Remove what a fleet has on an engine, at once."""
    for seen in engine.observed(fleet_name):
        engine.remove(seen.name)
    for volume in engine.volumes(fleet_name):
        engine.remove_volume(volume)
    for network in engine.networks(fleet_name):
        engine.remove_network(network)


def _wanted(fleet: Fleet, kind: Kind, count: int) -> Wanted:
    lines = shape(fleet, kind)
    return Wanted(kind, count, digest(lines), lines)

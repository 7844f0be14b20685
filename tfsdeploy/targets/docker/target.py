"""The Docker target: a fleet whose replicas and gateways are containers of one engine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.names import is_fleet_name
from tfsdeploy.render.containers import GRPC_PORT, REST_PORT
from tfsdeploy.render.docker.container import Kind
from tfsdeploy.report import Report
from tfsdeploy.targets.base import GatewayAddress, ReplicaAddress, Settings
from tfsdeploy.targets.docker.engine import Engine
from tfsdeploy.targets.docker.observed import Seen
from tfsdeploy.targets.docker.reach import Reach
from tfsdeploy.targets.docker.state import StateVolume

if TYPE_CHECKING:
    from tfsdeploy.fleet.model import Fleet
    from tfsdeploy.fleet.pins import Pins
    from tfsdeploy.targets.docker.shaping import Shaping

REMOVE_SECONDS = 30
"""How long a container may take to end by itself when the whole fleet goes."""


class DockerTarget:
    """One fleet on one engine; making one touches nothing.

    Args:
        fleet_name: the fleet.
    """

    kind = "docker"

    def __init__(self, fleet_name: str) -> None:
        if not is_fleet_name(fleet_name):
            raise UsageError(
                f"{fleet_name!r} is not a fleet name", hint="lower-case letters, digits and -, at most 40 characters"
            )
        self.fleet = fleet_name
        self.engine = Engine()
        self._reach = Reach(self.engine)
        self._state = StateVolume(self.engine, fleet_name)

    def where(self) -> str:
        """Nothing: it is here."""
        return ""

    def settings(self) -> Settings | None:
        """What `up` last applied; None if the fleet is not there."""
        return self._state.settings()

    def releases(self) -> StateVolume:
        """The fleet's release document."""
        return self._state

    def pins(self) -> Pins | None:
        """The pins that were last handed to the fleet."""
        return self._state.pins()

    def write_pins(self, pins: Pins) -> None:
        """Hand the fleet file's pins to the fleet."""
        self._state.write_pins(pins)

    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """The replicas that are there, by number."""
        return tuple(ReplicaAddress(seen.unit, self._reach.url(seen)) for seen in self._agents("replica"))

    def gateways(self) -> tuple[GatewayAddress, ...]:
        """The gateways that are there, by number."""
        there = [seen for seen in self.engine.observed(self.fleet) if seen.kind == "gateway"]
        envoys = {seen.unit: seen for seen in there if seen.part == "envoy"}
        return tuple(
            GatewayAddress(seen.unit, self._reach.url(seen), *self._published(envoys.get(seen.unit)))
            for seen in there
            if seen.part == "agent"
        )

    def entrance(self) -> tuple[str, str] | None:
        """None: clients use each gateway's own ports."""
        return None

    def reached(self, replica: str, address: str) -> str:
        """``host:port`` at which this process reaches what a replica says is at ``address``."""
        return self._reach.at(f"{replica}-agent", address)

    def troubles(self) -> tuple[str, ...]:
        """What is amiss with the place itself: containers that do not run."""
        return tuple(
            f"container {seen.name} does not run ({seen.status}); `tfsdeploy up` starts it"
            for seen in self.engine.observed(self.fleet)
            if not seen.runs
        )

    def changes(self, fleet: Fleet) -> tuple[str, ...]:
        """What `apply` would do, a line each with its reason."""
        return tuple(str(step) for step in self._shaping(fleet).plan())

    def exclusive(self, fleet: Fleet, report: Report) -> AbstractContextManager[None]:
        """Nobody else changes the shape of this fleet meanwhile; see `Shaping.exclusive`."""
        return self._shaping(fleet).exclusive(report)

    def prepare(self, fleet: Fleet, report: Report) -> None:
        """See `Shaping.prepare`."""
        self._shaping(fleet).prepare(report)

    def apply(self, fleet: Fleet, report: Report, *, timeout: float) -> None:
        """Make the shape as the fleet file says, one replica or gateway at a time.

        Raises:
            TfsdeployError: something did not become ready in time; what served before serves on.
        """
        self._shaping(fleet).apply(report, timeout)

    def beside_gateways(self, args: Sequence[str], report: Report, *, seconds: float) -> None:
        """Clients come from outside too, through the published ports."""
        return

    def logs(self, names: tuple[str, ...], *, follow: bool, tail: int) -> Iterator[str]:
        """The last ``tail`` lines of each container of the named units, and new ones while ``follow``.

        Raises:
            UsageError: a name that neither a unit nor a container has; says which there are.
        """
        there = self.engine.observed(self.fleet)
        for name in names:
            if not any(name in (seen.unit, seen.name) for seen in there):
                known = ", ".join(sorted({seen.unit for seen in there}))
                hint = f"there are: {known}" if known else "run `up` first"
                raise UsageError(f"there is no log of {name!r}", hint=hint)
        wanted = [seen.name for seen in there if not names or seen.unit in names or seen.name in names]
        if follow:
            yield from self._followed(wanted, tail)
            return
        for name in wanted:
            for line in self.engine.log_lines(name, follow=False, tail=tail):
                yield f"{name}: {line}"

    def remove(self, report: Report, *, timeout: float) -> None:
        """End every container and remove everything but the store; done already if nothing is there."""
        from concurrent.futures import ThreadPoolExecutor

        from tfsdeploy.targets.docker.shaping import remove_rest

        there = self.engine.observed(self.fleet)
        # The gateways end what is on its way, then the replicas: nobody asks them any more.
        for kind, part in (("gateway", "agent"), ("gateway", "envoy"), ("replica", "server"), ("replica", "agent")):
            ending = [seen for seen in there if (seen.kind, seen.part) == (kind, part)]
            for seen in ending:
                report.say(f"remove  {seen.name}")
            with ThreadPoolExecutor(max(1, len(ending))) as pool:
                list(pool.map(lambda seen: self.engine.stop(seen.name, int(min(timeout, REMOVE_SECONDS))), ending))
        remove_rest(self.engine, self.fleet)

    def _shaping(self, fleet: Fleet) -> Shaping:
        # Commands that change no shape start faster without it.
        from tfsdeploy.targets.docker.shaping import Shaping

        return Shaping(self.engine, self._state, self._reach, fleet)

    def _agents(self, kind: Kind) -> list[Seen]:
        return [seen for seen in self.engine.observed(self.fleet) if (seen.kind, seen.part) == (kind, "agent")]

    def _published(self, envoy: Seen | None) -> tuple[str, str]:
        """Where clients reach a gateway: REST and gRPC."""
        ports = {} if envoy is None else envoy.ports
        found = (ports.get(port, (self.engine.host, 0)) for port in (REST_PORT, GRPC_PORT))
        rest, grpc = (f"{self._host(address)}:{port}" for address, port in found)
        return f"http://{rest}", grpc

    def _host(self, address: str) -> str:
        """Where a port that is published at an address is reached."""
        if address in ("0.0.0.0", "::"):
            return self.engine.host
        return f"[{address}]" if ":" in address else address

    def _followed(self, names: Sequence[str], tail: int) -> Iterator[str]:
        # A connection that waits for lines holds up nobody else's.
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def follow(name: str) -> None:
            try:
                for line in self.engine.log_lines(name, follow=True, tail=tail):
                    lines.put(f"{name}: {line}")
            except TfsdeployError as error:
                lines.put(f"{name}: {error.message}")
            finally:
                lines.put(None)

        for name in names:
            threading.Thread(target=follow, args=(name,), daemon=True).start()
        ended = 0
        while ended < len(names):
            line = lines.get()
            if line is None:
                ended += 1
            else:
                yield line

"""Where units live: their folders, and ports that nobody else has."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.targets.local.ports import free_ports, holder, is_free
from tfsdeploy.targets.local.process import marked
from tfsdeploy.targets.local.shape import Place, files, unit
from tfsdeploy.targets.local.state import FleetFolder, fleet_names, write
from tfsdeploy.targets.plan import Kind

OWN_PORTS: dict[Kind, tuple[str, ...]] = {"replica": ("agent", "rest", "grpc"), "gateway": ("agent",)}
"""The ports that a unit has for itself; the gateways of a fleet share the ones that clients use."""


class Places:
    """Finds places for the units of one fleet.

    Args:
        folder: the fleet's state.
        fleet: the fleet.
    """

    def __init__(self, folder: FleetFolder, fleet: Fleet) -> None:
        self._folder = folder
        self._fleet = fleet

    def claim_gateway_ports(self) -> None:
        """See that the fleet can have the ports that clients use; choose those that its file leaves open (0).

        Raises:
            TfsdeployError: a port is somebody else's; says whose.
        """
        with self._alone():
            kept = self._folder.numbers("ports")
            for name, port in self._asked().items():
                if port == 0 and name not in kept:
                    (kept[name],) = free_ports(1, {*self._taken(), *kept.values()}, self._fleet.gateway.address)
            self._folder.write_numbers("ports", kept)
        for name, port in self._gateway_ports().items():
            self._check(name, port)

    def make(self, kind: Kind, name: str, ordinal: int) -> None:
        """Find a place for a unit, and hand the unit to the supervisor."""
        folder = self._folder
        with self._alone():
            ports = self._gateway_ports() if kind == "gateway" else {}
            own = OWN_PORTS[kind]
            ports |= dict(zip(own, free_ports(len(own), self._taken()), strict=True))
            place = Place(name, folder.path, folder.unit(kind, name), ports)
            # The ordinal first: whatever happens next, it is never used again.
            folder.write_numbers("ordinals", {**folder.numbers("ordinals"), kind: ordinal})
            folder.write_endpoint(kind, name, self._endpoint(kind, place))
            for file, text in files(self._fleet, kind).items():
                write(place.folder / file, text)
            folder.write_unit(unit(self._fleet, kind, ordinal, place))

    def forget_lost_units(self) -> None:
        """Forget units that do not run and whose ports others took meanwhile, such as over a reboot."""
        running = {mark.partition("/")[0] for mark, _ in marked(self._folder.path)}
        for one in self._folder.units().values():
            if one.name not in running and not all(is_free(one.ports[port]) for port in OWN_PORTS[one.kind]):
                self._folder.forget_unit(one)

    def _asked(self) -> dict[str, int]:
        return {"rest": self._fleet.gateway.rest, "grpc": self._fleet.gateway.grpc}

    def _gateway_ports(self) -> dict[str, int]:
        kept = self._folder.numbers("ports")
        return {name: port or kept[name] for name, port in self._asked().items()}

    def _endpoint(self, kind: Kind, place: Place) -> dict[str, str]:
        status = {"status": f"http://{place.at('agent')}"}
        if kind == "replica":
            return status
        host = _reachable(self._fleet.gateway.address)
        return {**status, "rest": f"http://{host}:{place.ports['rest']}", "grpc": f"{host}:{place.ports['grpc']}"}

    def _check(self, name: str, port: int) -> None:
        """Refuse a gateway port that another fleet was given, or that somebody listens on who is not of this fleet."""
        hint = f"choose another one in gateway.{name}, or 0 for any that is free"
        address = self._fleet.gateway.address
        for other in self._others():
            if any(port in one.ports.values() for one in other.units().values()):
                raise TfsdeployError(
                    f"port {port} belongs to fleet {other.fleet_name}", where=f"gateway.{name}", hint=hint
                )
        if is_free(port, address):
            return
        who = holder(port)
        if who is not None and who.pid in {process.pid for _, process in marked(self._folder.path, leaders=False)}:
            return
        by = f" by {who.command} (process {who.pid})" if who else ""
        raise TfsdeployError(f"port {port} of {address} is in use{by}", where=f"gateway.{name}", hint=hint)

    def _others(self) -> list[FleetFolder]:
        names = (name for name in fleet_names(self._folder.home) if name != self._fleet.name)
        return [FleetFolder(self._folder.home, name) for name in names]

    def _taken(self) -> set[int]:
        """Every port that a unit of any fleet under the same home was given, or that is kept for a gateway."""
        taken: set[int] = {port for port in self._asked().values() if port}
        for folder in (self._folder, *self._others()):
            taken.update(folder.numbers("ports").values())
            for one in folder.units().values():
                taken.update(one.ports.values())
        return taken

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one command at a time gives ports away under one home; the lock is on the folder, and leaves no file."""
        fleets = os.open(self._folder.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fleets, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fleets)


def _reachable(address: str) -> str:
    """Where this machine reaches a gateway that listens on an address."""
    if address in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{address}]" if ":" in address else address

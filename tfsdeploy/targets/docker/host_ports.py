"""Ports of the host that gateways of two fleets would share without knowing. Pure.

The kernel lets every process of one user listen at the same port (SO_REUSEPORT), and deals connections out between
them: that is how a gateway is replaced without a drop, and how another fleet would get a part of the requests.
"""

from __future__ import annotations

from collections.abc import Iterable

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.render.docker.container import Container, Port
from tfsdeploy.targets.docker.observed import ON_HOST, Seen

ANYWHERE = ("0.0.0.0", "::")


def shared_port(wanted: Iterable[Container], others: Iterable[Seen]) -> TfsdeployError | None:
    """What to say if another fleet's gateway listens at a port of the host that one of this fleet is to have.

    Args:
        wanted: the containers of the fleet.
        others: the containers of all other fleets on the engine.
    """
    ours = [port for one in wanted if one.network == "host" for port in one.ports]
    for envoy in (one for one in others if one.part == "envoy" and one.runs and ON_HOST in one.shape):
        for port in ours:
            if any(_meet(port, address, number) for address, number in envoy.ports.values()):
                hint = "choose others in gateway.rest and gateway.grpc: the two fleets would get each other's requests"
                said = f"the port {port.address}:{port.host} is that of another fleet, which shares the host's too"
                return TfsdeployError(said, where=envoy.name, hint=hint)
    return None


def _meet(port: Port, address: str, number: int) -> bool:
    return port.host == number and (port.address == address or port.address in ANYWHERE or address in ANYWHERE)

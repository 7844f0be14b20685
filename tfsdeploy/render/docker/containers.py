"""What the containers of a fleet are: images, commands, mounts, ports and bounds. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.gateway.shape import LISTENERS, GatewayShape, envoy_flags
from tfsdeploy.names import gateway_name, replica_name
from tfsdeploy.protocol.agents import LEASE_SECONDS
from tfsdeploy.render.containers import (
    AGENT_PORT,
    GATEWAY_DRAIN_SECONDS,
    GRPC_PORT,
    REST_PORT,
    RUN,
    heap_bytes,
    model_server_flags,
)
from tfsdeploy.render.docker.container import (
    GIVEN,
    HANDED,
    STATE,
    Container,
    Kind,
    Mount,
    Port,
    handed_volume,
    keeper_name,
    run_volume,
    state_volume,
)
from tfsdeploy.render.docker.models import models
from tfsdeploy.render.images import full_image
from tfsdeploy.render.quantities import bytes_of, cores_of
from tfsdeploy.render.serving import batching_text, gateway_flags, number

SPARE_SECONDS = 15.0
SHARES_PER_CORE = 1024

SHELL = ("/bin/sh", "-c")
# Not the container's own folder: Docker would make that in the image, as root's, and a new volume takes after it.
_WAITS = f'cd {RUN}; while [ ! -e {{file}} ]; do sleep 0.1; done; exec "$0" "$@"'
_BATCHING_FILE = "/tmp/batching.config"
_BATCHING = f'printf %s "$BATCHING" > {_BATCHING_FILE}; '
# Envoy refuses HTTP/1.0.
_HEAD = r"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_ANSWERS = (
    f'exec 3<>/dev/tcp/{{host}}/{{port}} && printf "GET {{path}} {_HEAD}" >&3 && '
    'read -r _ code _ <&3 && [ "$code" = 200 ]'
)
_LISTENS = "exec 3<>/dev/tcp/127.0.0.1/{port}"


def keeper(fleet: Fleet, given: str | None = None) -> Container:
    """The container through which commands write the fleet's state.

    Args:
        fleet: whose it is.
        given: a folder of the host with the settings and the pins, if no command hands them over.
    """
    flags = [f"--folder={STATE}", f"--fleet={fleet.name}"]
    mounts = [_state(fleet), Mount("volume", handed_volume(fleet.name), HANDED)]
    if given is not None:
        flags.append(f"--given={GIVEN}")
        mounts.append(Mount("bind", given, GIVEN, read_only=True))
    made = _agent(fleet, keeper_name(fleet.name), "state", 0, ("agent", "state", "keep", *flags), tuple(mounts))
    return replace(made, name=made.unit, part="state", health="")


def replica(fleet: Fleet, ordinal: int, name: str | None = None) -> tuple[Container, ...]:
    """The containers of a replica, in the order in which they start.

    Raises:
        UsageError: containers cannot reach the store.
    """
    unit, found = name or replica_name(fleet.name, ordinal), models(fleet)
    host = f"{unit}-server"
    flags = {
        "--name": unit,
        "--fleet": fleet.name,
        "--release": f"{STATE}/release.json",
        "--store": found.url,
        "--folder": RUN,
        "--server-rest": f"{host}:{REST_PORT}",
        "--server-grpc": f"{host}:{GRPC_PORT}",
        "--announce": f"{STATE}/replicas",
        "--listen": f"0.0.0.0:{AGENT_PORT}",
        "--drain-seconds": number(fleet.serving.drain_seconds),
        "--verified-cache": f"{STATE}/verified.json",
        **found.flags,
    }
    run = Mount("volume", run_volume(unit), RUN)
    command = ("agent", "replica", *_spelled(flags))
    agent = _agent(fleet, unit, "replica", ordinal, command, (_state(fleet), run, found.mount, *found.handed))
    # It leaves when every gateway has acknowledged, or has not been heard of for a lease.
    patience = int(LEASE_SECONDS + fleet.serving.drain_seconds + 10)
    server = _server(fleet, unit, ordinal, (run, replace(found.mount, read_only=True)))
    return replace(agent, stop_seconds=patience), server


def gateway(fleet: Fleet, ordinal: int, name: str | None = None) -> tuple[Container, ...]:
    """The containers of a gateway, in the order in which they start.

    Raises:
        UsageError: its ports are not chosen, or collide.
    """
    unit = name or gateway_name(fleet.name, ordinal)
    rest, grpc = gateway_ports(fleet, ordinal)
    address, listens = fleet.gateway.address, ("0.0.0.0", REST_PORT, GRPC_PORT)
    if on_host := fleet.gateway.network == "host":
        listens = (address, rest, grpc)
    flags = {
        "--name": unit,
        "--fleet": fleet.name,
        "--release": f"{STATE}/release.json",
        "--pins": f"{STATE}/pins.json",
        "--replicas": f"{STATE}/replicas",
        "--folder": RUN,
        "--admin-socket": "admin.sock",
        "--listen": f"0.0.0.0:{AGENT_PORT}",
        **gateway_flags(
            fleet, drain_seconds=GATEWAY_DRAIN_SECONDS, address=listens[0], rest_port=listens[1], grpc_port=listens[2]
        ),
        "--max-heap-bytes": str(heap_bytes(fleet)),
    }
    run = Mount("volume", run_volume(unit), RUN)
    agent = _agent(fleet, unit, "gateway", ordinal, ("agent", "gateway", *_spelled(flags)), (_state(fleet), run))
    envoy = Container(
        name=f"{unit}-envoy",
        unit=unit,
        kind="gateway",
        part="envoy",
        ordinal=ordinal,
        image=full_image(fleet.gateway.image, fleet.image_registry),
        entrypoint=(*SHELL, _WAITS.format(file=LISTENERS), "envoy"),
        command=tuple(envoy_flags(GatewayShape(drain_seconds=GATEWAY_DRAIN_SECONDS))),
        environment={},
        mounts=(run,),
        ports=(Port(address, rest, REST_PORT), Port(address, grpc, GRPC_PORT)),
        health=_ANSWERS.format(host=_asked(listens[0]), port=listens[1], path="/readyz"),
        memory=int(bytes_of(fleet.gateway.resources.memory)),
        shares=_shares(fleet.gateway.resources.cpu),
        init=True,
        network="host" if on_host else "fleet",
    )
    patience = math.ceil(GATEWAY_DRAIN_SECONDS + fleet.gateway.timeout_seconds + SPARE_SECONDS)
    return replace(agent, stop_seconds=patience), envoy


def gateway_ports(fleet: Fleet, ordinal: int) -> tuple[int, int]:
    """The host's ports of a gateway, REST and gRPC: each has its own, ten above the last one's, unless all share them.

    Raises:
        UsageError: they are left open, beyond the last port, or those of another gateway.
    """
    rest, grpc = fleet.gateway.rest, fleet.gateway.grpc
    where = f"{fleet.file}: gateway"
    if not rest or not grpc:
        raise UsageError("found port 0, which only the local target can choose", where=where, hint="write both ports")
    if fleet.gateway.network == "host":
        return rest, grpc
    apart = 10 if (rest - grpc) % 10 else 1
    most = max(rest, grpc) + apart * (fleet.gateway.replicas - 1)
    if most > 65535 or (apart == 1 and abs(rest - grpc) < fleet.gateway.replicas):
        raise UsageError(
            f"{fleet.gateway.replicas} gateways need ports of their own, {apart} apart, and those do not fit",
            where=where,
            hint="choose other ports in gateway.rest and gateway.grpc",
        )
    return rest + apart * (ordinal - 1), grpc + apart * (ordinal - 1)


def containers(fleet: Fleet) -> tuple[Container, ...]:
    """Every container of a new fleet but its keeper."""
    made = [one for ordinal in range(1, fleet.serving.replicas + 1) for one in replica(fleet, ordinal)]
    return (*made, *(one for ordinal in range(1, fleet.gateway.replicas + 1) for one in gateway(fleet, ordinal)))


def _agent(
    fleet: Fleet, unit: str, kind: Kind, ordinal: int, command: tuple[str, ...], mounts: tuple[Mount, ...]
) -> Container:
    return Container(
        name=f"{unit}-agent",
        unit=unit,
        kind=kind,
        part="agent",
        ordinal=ordinal,
        image=full_image(fleet.agent.image, fleet.image_registry),
        entrypoint=(),
        command=command,
        environment={},
        mounts=mounts,
        health=_ANSWERS.format(host="127.0.0.1", port=AGENT_PORT, path="/healthz"),
        memory=int(bytes_of(fleet.agent.resources.memory)),
        shares=_shares(fleet.agent.resources.cpu),
    )


def _server(fleet: Fleet, unit: str, ordinal: int, mounts: tuple[Mount, ...]) -> Container:
    resources, batching = fleet.serving.resources, fleet.serving.batching
    cores = None if resources.cpu is None else cores_of(resources.cpu)
    script = _WAITS.format(file="models.config")
    return Container(
        name=f"{unit}-server",
        unit=unit,
        kind="replica",
        part="server",
        ordinal=ordinal,
        image=full_image(fleet.serving.image, fleet.image_registry),
        entrypoint=(*SHELL, script if batching is None else _BATCHING + script, "tensorflow_model_server"),
        command=model_server_flags(fleet, _BATCHING_FILE),
        environment={"TF_CPP_MIN_LOG_LEVEL": "1"} | ({} if batching is None else {"BATCHING": batching_text(batching)}),
        mounts=mounts,
        # TF Serving opens its gRPC port when the first versions are loaded.
        health=_LISTENS.format(port=GRPC_PORT),
        memory=None if resources.memory is None else int(bytes_of(resources.memory)),
        cores=cores,
        gpus=resources.gpu,
        init=True,
    )


def _state(fleet: Fleet) -> Mount:
    return Mount("volume", state_volume(fleet.name), STATE)


def _asked(address: str) -> str:
    """Where something that listens at an address is asked from the same network."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def _shares(cpu: str) -> int:
    return max(2, int(cores_of(cpu) * SHARES_PER_CORE))


def _spelled(flags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in flags.items())

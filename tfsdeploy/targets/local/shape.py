"""What a replica and a gateway are on this machine: their processes, command lines and environment. Pure.

A unit's shape is everything that its fleet file and the version of this program decide, without where this very unit
lives: its name, folder and ports stand in the shape as words, so equal files give equal shapes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy import __version__
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.gateway.shape import LISTENERS, GatewayShape, envoy_command
from tfsdeploy.protocol.agents import LEASE_SECONDS
from tfsdeploy.render.serving import batching_text, gateway_flags, number, server_flags, store_flags
from tfsdeploy.targets.local.units import ProcessSpec, UnitSpec
from tfsdeploy.targets.plan import Kind

PYTHON = (sys.executable, "-P", "-m")
"""``-P``: the folder that a process runs in is not searched for modules."""

LOOPBACK = "127.0.0.1"

SERVER_RESTART_SECONDS = 0.25
"""Before a dead model server starts again, its agent can take the version that killed it out of its configuration."""

DRAIN_SECONDS = 1.0
"""How long the connections of a gateway's clients are wound down when it leaves."""

SPARE_SECONDS = 15.0

BATCHING = "batching.config"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one unit lives.

    Attributes:
        name: its name.
        fleet: the fleet's state folder.
        folder: its own folder.
        ports: by what they are for: ``agent``, ``rest``, ``grpc``.
    """

    name: str
    fleet: Path
    folder: Path
    ports: Mapping[str, int | str]

    def at(self, port: str) -> str:
        """``host:port`` of one of its ports that only this machine's processes talk to."""
        return f"{LOOPBACK}:{self.ports[port]}"

    def log(self, process: str) -> str:
        """The log of one of its processes."""
        return str(self.fleet / "logs" / f"{self.name}.{process}.log")


def processes(fleet: Fleet, kind: Kind, place: Place) -> tuple[ProcessSpec, ...]:
    """The processes of a unit, in the order in which they start."""
    if kind == "replica":
        return (_replica_agent(fleet, place), _server(fleet, place))
    return (_gateway_agent(fleet, place), _envoy(place))


def files(fleet: Fleet, kind: Kind) -> dict[str, str]:
    """What stands in a unit's folder before its processes start: name -> text."""
    if kind == "gateway" or fleet.serving.batching is None:
        return {}
    return {BATCHING: batching_text(fleet.serving.batching)}


def shape(fleet: Fleet, kind: Kind) -> tuple[str, ...]:
    """The shape of every unit of a kind, a flag or variable a line."""
    nowhere = Place("NAME", Path("/FLEET"), Path("/FLEET/NAME"), {"agent": "PORT", "rest": "PORT", "grpc": "PORT"})
    # The same command line starts other code after an upgrade: `up` then replaces what still runs the old one.
    lines = [f"tfsdeploy {__version__}"]
    lines += [
        f"{process.name} {item}"
        for process in processes(fleet, kind, nowhere)
        for item in (*process.argv, *(f"{name}={value}" for name, value in process.env.items()))
    ]
    lines += [f"{name} {line}" for name, text in files(fleet, kind).items() for line in text.splitlines()]
    if kind == "gateway":
        lines += [f"rest port {fleet.gateway.rest}", f"grpc port {fleet.gateway.grpc}"]
    return tuple(lines)


def digest(lines: Sequence[str]) -> str:
    """The digest of a shape."""
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def unit(fleet: Fleet, kind: Kind, ordinal: int, place: Place) -> UnitSpec:
    """A unit as the supervisor gets it."""
    lines = shape(fleet, kind)
    ports = {name: int(port) for name, port in place.ports.items()}
    return UnitSpec(place.name, kind, ordinal, digest(lines), lines, ports, processes(fleet, kind, place))


def _replica_agent(fleet: Fleet, place: Place) -> ProcessSpec:
    argv = _agent(fleet, place) | {
        "--store": fleet.store.url,
        "--folder": str(place.folder / "agent"),
        "--server-rest": place.at("rest"),
        "--server-grpc": place.at("grpc"),
        "--drain-seconds": number(fleet.serving.drain_seconds),
        "--verified-cache": str(place.fleet / "verified.json"),
        **store_flags(fleet.store),
    }
    if is_object_store(fleet.store.url):
        # One for all replicas: what one of them has fetched, the others find there.
        argv |= {"--models": str(place.fleet / "models")}
    # It leaves when every gateway has acknowledged, or has not been heard of for a lease.
    patience = LEASE_SECONDS + fleet.serving.drain_seconds + 10
    return _process("agent", (*PYTHON, "tfsdeploy", "agent", "replica", *_spelled(argv)), place, stop_seconds=patience)


def _server(fleet: Fleet, place: Place) -> ProcessSpec:
    threads = max(1, (os.cpu_count() or 1) // 2)
    flags = server_flags(
        fleet,
        rest_port=place.ports["rest"],
        grpc_port=place.ports["grpc"],
        models_config=str(place.folder / "agent" / "models.config"),
        batching=str(place.folder / BATCHING),
        # Replicas share this machine: each with a thread a core would make all of them slower.
        own={"tensorflow_intra_op_parallelism": str(threads), "tensorflow_inter_op_parallelism": str(threads)},
    )
    argv = (*_program(fleet.serving.server), *flags)
    return _process(
        "server",
        argv,
        place,
        env={"TF_CPP_MIN_LOG_LEVEL": "1", "OMP_NUM_THREADS": str(threads)},
        gate=str(place.folder / "agent" / "models.config"),
        first_restart=SERVER_RESTART_SECONDS,
        stop_seconds=fleet.serving.drain_seconds + SPARE_SECONDS,
    )


def _program(server: str) -> tuple[str, ...]:
    """The model server's program and what makes it the one that is asked for."""
    if server == "embedded":
        return (*PYTHON, "tfsdeploy.server.main", f"--address={LOOPBACK}", "--open_early", "--keep_missing")
    if server == "embedded-like-tfs":
        return (*PYTHON, "tfsdeploy.server.main", f"--address={LOOPBACK}", "--like-tfs")
    return (server,)


def _gateway_agent(fleet: Fleet, place: Place) -> ProcessSpec:
    argv = _agent(fleet, place) | {
        "--pins": str(place.fleet / "pins.json"),
        "--replicas": str(place.fleet / "replicas"),
        "--folder": str(place.folder),
        "--admin-socket": "admin.sock",
        **gateway_flags(
            fleet,
            drain_seconds=DRAIN_SECONDS,
            address=fleet.gateway.address,
            rest_port=place.ports["rest"],
            grpc_port=place.ports["grpc"],
        ),
    }
    return _process(
        "agent",
        (*PYTHON, "tfsdeploy", "agent", "gateway", *_spelled(argv)),
        place,
        # After the connections, the agent waits for the last requests, and then ends by itself.
        stop_seconds=DRAIN_SECONDS + fleet.gateway.timeout_seconds + SPARE_SECONDS,
    )


def _envoy(place: Place) -> ProcessSpec:
    command = envoy_command(GatewayShape(drain_seconds=DRAIN_SECONDS))
    return _process("envoy", command, place, gate=str(place.folder / LISTENERS), stop_seconds=10)


def _agent(fleet: Fleet, place: Place) -> dict[str, str]:
    return {
        "--name": place.name,
        "--fleet": fleet.name,
        "--release": str(place.fleet / "release.json"),
        "--listen": place.at("agent"),
    }


def _process(
    name: str,
    argv: Sequence[str],
    place: Place,
    *,
    env: Mapping[str, str] | None = None,
    gate: str | None = None,
    first_restart: float = 0.0,
    stop_seconds: float,
) -> ProcessSpec:
    return ProcessSpec(
        name, tuple(argv), env or {}, str(place.folder), place.log(name), gate, first_restart, stop_seconds
    )


def _spelled(flags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in flags.items())

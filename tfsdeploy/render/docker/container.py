"""One container as a value, what all of them have in common, and how a fleet's things are named. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["state", "replica", "gateway"]

LABEL = "tfsdeploy"
"""Labels of containers, volumes and networks begin with it; what has none of them is somebody else's."""

STATE = "/var/lib/tfsdeploy"
"""The fleet's state: the release, its history, the pins, and where replicas are."""

GIVEN = "/etc/tfsdeploy"
"""Where a keeper finds what a rendered folder hands over."""

HANDED = "/run/secrets/tfsdeploy"
"""Where replica agents find what opens the object store."""

USER = "65532:65532"
LOG_OPTIONS = {"max-file": "3", "max-size": "10m"}
HEALTH_SECONDS = {"interval": 15, "timeout": 5, "start_period": 60}
TMP = "size=256m,mode=1777"
"""What every container has in memory for temporary files: its root cannot be written."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume or a folder of the host, in a container.

    Attributes:
        kind: which of them.
        source: the volume's name, or the folder.
        target: where the container sees it.
        read_only: the container cannot write there.
        made: a volume that the fleet makes and removes; False: somebody else's, which must be there.
    """

    kind: Literal["volume", "bind"]
    source: str
    target: str
    read_only: bool = False
    made: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.source} at {self.target}{', read-only' if self.read_only else ''}"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a container that clients reach at an address of the host."""

    address: str
    host: int
    container: int

    def __str__(self) -> str:
        return f"{self.address}:{self.host} to {self.container}"


@dataclass(frozen=True, slots=True)
class Container:
    """One container.

    Attributes:
        name: its name, which is also its name on the fleet's network.
        unit: the state keeper, replica or gateway that it is a part of.
        kind: what that is.
        part: ``state``, ``agent``, ``server`` or ``envoy``.
        ordinal: the number in the unit's name; 0 for the keeper.
        image: what it is made of.
        entrypoint: the program and its first arguments; empty: the image's own.
        command: its other arguments.
        environment: variables beside those of the image; never a secret.
        mounts: volumes and folders.
        ports: what clients reach.
        health: a bash script that succeeds while all is well; empty: none.
        stop_seconds: how long it may take to end by itself.
        memory: bytes that it may have; None: no limit.
        cores: that it may use; None: no limit.
        shares: its weight when cores are scarce.
        gpus: how many it gets.
        init: a process 1 before it: it does not handle signals itself.
        network: the fleet's own, or that of the host, at whose address and ports it listens itself.
    """

    name: str
    unit: str
    kind: Kind
    part: str
    ordinal: int
    image: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    ports: tuple[Port, ...] = ()
    health: str = ""
    stop_seconds: int = 10
    memory: int | None = None
    cores: float | None = None
    shares: int | None = None
    gpus: int = 0
    init: bool = False
    network: Literal["fleet", "host"] = "fleet"


def network_name(fleet_name: str) -> str:
    """The network of a fleet."""
    return f"{fleet_name}-fleet"


def state_volume(fleet_name: str) -> str:
    """The volume with a fleet's state."""
    return f"{fleet_name}-state"


def run_volume(unit: str) -> str:
    """The volume that the containers of a unit share."""
    return f"{unit}-run"


def models_volume(fleet_name: str) -> str:
    """The volume into which replicas fetch models from an object store, one for all of them."""
    return f"{fleet_name}-models"


def handed_volume(fleet_name: str) -> str:
    """The volume with what opens the object store: written through the keeper, read by replica agents."""
    return f"{fleet_name}-handed"


def keeper_name(fleet_name: str) -> str:
    """The container that keeps a fleet's state at hand, also before there are replicas."""
    return f"{fleet_name}-keeper"

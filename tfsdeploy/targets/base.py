"""What every target offers: the seam between deploying and the place where a fleet lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from tfsdeploy.fleet.model import Fleet
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.release.history import Entry
from tfsdeploy.release.update import ReleaseStore
from tfsdeploy.report import Report


@dataclass(frozen=True, slots=True)
class Settings:
    """What `up` last applied, as far as commands need it that have no fleet file at hand.

    Attributes:
        fleet: the fleet's name.
        target: ``local``, ``docker`` or ``kubernetes``.
        file: absolute path of the fleet file that owns the name.
        store: URL of the model store.
        store_options: the store's options; secrets only ever as references.
        replicas: how many replicas are wanted.
        min_available: how many of them a rollback's barrier needs.
        keep: how many versions beside the newest stay loaded.
        owner: whose the shape is, in words, if not `up`'s; empty otherwise.
        memory: bytes that one model server may have; None where nothing limits it.
        tflite: whether model servers load TFLite models; None if that is not known.
    """

    fleet: str
    target: str
    file: str
    store: str
    store_options: Mapping[str, object]
    replicas: int
    min_available: int
    keep: int
    owner: str = ""
    memory: int | None = None
    tflite: bool | None = None


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """A replica that the target knows: its name and the base URL of its agent's status server."""

    name: str
    status: str


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """A gateway that the target knows: its name, its agent's base URL, and its ports, as this process reaches them."""

    name: str
    status: str
    rest: str
    grpc: str


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended that ran beside the gateways: its exit code and what it printed."""

    code: int
    out: str


class History(ReleaseStore, Protocol):
    """A release store that also keeps what changed."""

    def history(self) -> list[Entry]:
        """What changed, newest first; starts with the present generation."""


class Target(Protocol):
    """A place where one fleet lives. Constructing one touches nothing."""

    kind: str
    fleet: str

    def where(self) -> str:
        """Which cluster and namespace are meant, in words; empty where there is only one place."""

    def settings(self) -> Settings | None:
        """What `up` last applied; None if the fleet is not there."""

    def releases(self) -> History:
        """The fleet's release document."""

    def pins(self) -> Pins | None:
        """The pins that were last handed to the fleet."""

    def write_pins(self, pins: Pins) -> None:
        """Hand the fleet file's pins to the fleet; a gateway agent folds them if nobody did."""

    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """The replicas that should be there, by name."""

    def gateways(self) -> tuple[GatewayAddress, ...]:
        """The gateways that should be there, by name."""

    def entrance(self) -> tuple[str, str] | None:
        """REST and gRPC address of all gateways together; None if clients reach each one as this process does."""

    def reached(self, replica: str, address: str) -> str:
        """``host:port`` at which this process reaches what a replica says is at ``address``."""

    def troubles(self) -> tuple[str, ...]:
        """What is amiss with the place itself, a line each with the way out; empty if all is well."""

    def changes(self, fleet: Fleet) -> tuple[str, ...]:
        """What `apply` would do, a line each with its reason; empty if the shape is as the fleet file says."""

    def exclusive(self, fleet: Fleet, report: Report) -> AbstractContextManager[None]:
        """Nobody else changes the shape of this fleet meanwhile.

        Args:
            fleet: what is wanted.
            report: hears what takes its time before.

        Raises:
            Busy: somebody else does.
            UsageError: the name belongs to another fleet file, or the shape to another tool.
        """

    def prepare(self, fleet: Fleet, report: Report) -> None:
        """Make the fleet's home and settings, so that a release can be written before the first replica starts."""

    def apply(self, fleet: Fleet, report: Report, *, timeout: float) -> None:
        """Make the shape as the fleet file says, one replica or gateway at a time, without dropping a request.

        Args:
            fleet: what is wanted.
            report: hears of every step and what is waited for.
            timeout: seconds that one step may take.
        """

    def beside_gateways(self, args: Sequence[str], report: Report, *, seconds: float) -> Ran | None:
        """Run ``tfsdeploy ARGS`` where the gateways are; None if this machine is as near to them as any.

        Args:
            args: of the command line; ``{rest}`` and ``{grpc}`` in them become the gateways' addresses.
            report: hears what is waited for.
            seconds: how long the command takes once it runs.
        """

    def logs(self, names: tuple[str, ...], *, follow: bool, tail: int) -> Iterator[str]:
        """The last ``tail`` lines of the named parts (all if none is named), and new ones while ``follow``."""

    def remove(self, report: Report, *, timeout: float) -> None:
        """End every process and remove everything but the store; done already if nothing is there."""


def seen_by_clients(target: Target) -> tuple[GatewayAddress, ...]:
    """The gateways, by name, with the addresses that their clients use."""
    entrance = target.entrance()
    if entrance is None:
        return target.gateways()
    rest, grpc = entrance
    return tuple(replace(gateway, rest=rest, grpc=grpc) for gateway in target.gateways())

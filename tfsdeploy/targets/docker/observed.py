"""What an engine says of a fleet's containers, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfsdeploy.render.docker.container import LABEL, Kind, network_name

ON_HOST = "envoy network host"
"""In the shape of a gateway that shares the host's ports."""

_PORT = f"{LABEL}.port."


@dataclass(frozen=True, slots=True)
class Seen:
    """One container that is there.

    Attributes:
        name: its name.
        unit: the keeper, replica or gateway that it is a part of.
        kind: what that is.
        part: which part.
        ordinal: the number in the unit's name.
        digest: of the unit's shape when it was made.
        shape: that shape in words.
        state: the engine's word: ``running``, ``exited``, ``created``, ``restarting``, ``paused``, ``dead``.
        status: the engine's words: ``Exited (137) 5 seconds ago``.
        ports: those that clients reach: port of the container -> address and port of the host.
        address: on the fleet's network; empty while it does not run.
    """

    name: str
    unit: str
    kind: Kind
    part: str
    ordinal: int
    digest: str
    shape: tuple[str, ...]
    state: str
    status: str
    ports: Mapping[int, tuple[str, int]]
    address: str

    @property
    def runs(self) -> bool:
        """Whether it runs, or the engine is about to start it again."""
        return self.state in ("running", "restarting")

    @property
    def lone(self) -> bool:
        """Whether it runs, and was taken from the network that it should be on."""
        on_host = self.part == "envoy" and ON_HOST in self.shape
        return self.state == "running" and not self.address and not on_host


def seen(row: Mapping[str, Any]) -> Seen | None:
    """A container of a fleet, from a row of the engine's list; None if its labels are not as we write them."""
    labels = row["Labels"]
    try:
        fleet = labels[f"{LABEL}.fleet"]
        networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
        return Seen(
            name=row["Names"][0].lstrip("/"),
            unit=labels[f"{LABEL}.unit"],
            kind=labels[f"{LABEL}.kind"],
            part=labels[f"{LABEL}.part"],
            ordinal=int(labels[f"{LABEL}.ordinal"]),
            digest=labels[f"{LABEL}.digest"],
            shape=tuple(json.loads(labels[f"{LABEL}.shape"])),
            state=row["State"],
            status=row["Status"],
            ports={int(key.rpartition(".")[2]): _port(at) for key, at in labels.items() if key.startswith(_PORT)},
            address=(networks.get(network_name(fleet)) or {}).get("IPAddress") or "",
        )
    except (KeyError, ValueError, TypeError, IndexError):
        return None


def _port(at: str) -> tuple[str, int]:
    address, _, port = at.rpartition("|")
    return address, int(port)

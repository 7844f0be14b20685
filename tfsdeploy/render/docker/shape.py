"""The shape of a fleet's units, by which `up` knows which containers are as wanted, and their labels. Pure.

A shape is everything that the fleet file decides. A unit's own name stands in it as a word, so equal files give equal
shapes, and a shape's digest changes only with the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields

from tfsdeploy.fleet.model import Fleet
from tfsdeploy.render.docker.container import LABEL, Container, Kind
from tfsdeploy.render.docker.containers import gateway, keeper, replica

_OF_ONE = ("name", "unit", "kind", "part", "ordinal")
"""What is different for every unit of a kind."""


def labels(fleet: Fleet, container: Container) -> dict[str, str]:
    """The labels of a container: whose it is, what it is, and the shape of its unit."""
    lines = shape(fleet, container.kind)
    return {
        f"{LABEL}.fleet": fleet.name,
        f"{LABEL}.unit": container.unit,
        f"{LABEL}.kind": container.kind,
        f"{LABEL}.part": container.part,
        f"{LABEL}.ordinal": str(container.ordinal),
        f"{LABEL}.digest": digest(lines),
        f"{LABEL}.shape": json.dumps(lines),
        **{f"{LABEL}.port.{port.container}": f"{port.address}|{port.host}" for port in container.ports},
    }


def shape(fleet: Fleet, kind: Kind) -> tuple[str, ...]:
    """The shape of every unit of a kind, a setting a line."""
    if kind == "state":
        return tuple(_lines(keeper(fleet)))
    parts = replica(fleet, 1, "NAME") if kind == "replica" else gateway(fleet, 1, "NAME")
    return tuple(line for part in parts for line in _lines(part))


def digest(lines: tuple[str, ...]) -> str:
    """The digest of a shape."""
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _lines(container: Container) -> list[str]:
    found: list[str] = []
    for name in (field.name for field in fields(container) if field.name not in _OF_ONE):
        value = getattr(container, name)
        if isinstance(value, Mapping):
            value = tuple(f"{key}={one}" for key, one in value.items())
        rows = value if isinstance(value, tuple) else (value,) if value else ()
        found += [f"{container.part} {name} {row}" for row in rows]
    return found

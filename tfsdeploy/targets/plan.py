"""The plan: what must be started, replaced and removed so that a fleet has the shape that its file asks for, and why.

Pure: wanted shapes and observed units in, steps out. `str(plan)` is what `diff` shows and what tests compare. Targets
whose units are processes or containers use it; a cluster plans by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tfsdeploy.names import gateway_name, replica_name

Kind = Literal["replica", "gateway"]

NAMES = {"replica": replica_name, "gateway": gateway_name}

SHOWN_DIFFERENCES = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the fleet file asks for, of one kind.

    Attributes:
        kind: replicas or gateways.
        count: how many.
        digest: of the shape that each has.
        shape: the shape in words, one flag or setting each; only used to tell what changed.
    """

    kind: Kind
    count: int
    digest: str
    shape: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """A replica or gateway that is there.

    Attributes:
        name: its name.
        kind: what it is.
        ordinal: the number in its name.
        digest: of the shape that it was started with.
        shape: that shape in words; may be empty.
        leaving: it is on its way out.
    """

    name: str
    kind: Kind
    ordinal: int
    digest: str
    shape: Sequence[str] = ()
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Supervise:
    """Start what keeps the fleet's units running."""

    fleet: str
    cause: str

    def __str__(self) -> str:
        return f"start   supervisor of {self.fleet}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Start:
    """Start a unit."""

    kind: Kind
    name: str
    ordinal: int
    cause: str

    def __str__(self) -> str:
        return f"start   {self.kind} {self.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Replace:
    """Start a unit in the place of another one, and let that one leave when the new one is in use."""

    kind: Kind
    name: str
    ordinal: int
    old: str
    cause: str

    def __str__(self) -> str:
        return f"replace {self.kind} {self.old} by {self.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Let a unit leave."""

    kind: Kind
    name: str
    cause: str

    def __str__(self) -> str:
        return f"remove  {self.kind} {self.name}: {self.cause}"


Step = Supervise | Start | Replace | Remove


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in the order in which they are carried out; starts that follow each other happen at once."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "".join(f"{step}\n" for step in self.steps)


def make_plan(
    fleet_name: str,
    wanted: Iterable[Wanted],
    units: Sequence[Unit],
    *,
    used: Mapping[Kind, int],
    supervised: bool = True,
) -> Plan:
    """What to do.

    What is missing comes first and what is too much goes next, so that a replacement, new before old and one at a
    time, never needs room for more than one unit beyond what is wanted.

    Args:
        fleet_name: the fleet, for names.
        wanted: what is asked for, a value a kind, replicas first.
        units: what is there.
        used: by kind, the highest ordinal that was ever used.
        supervised: whether something keeps the units running.
    """
    kinds = [_Kind(fleet_name, one, [u for u in units if u.kind == one.kind], used[one.kind]) for one in wanted]
    steps: list[Step] = []
    if units and not supervised:
        steps.append(Supervise(fleet_name, "it does not run, so nothing that dies comes back"))
    for kind in kinds:
        steps += kind.starts()
    for kind in reversed(kinds):
        steps += kind.removals()
    for kind in kinds:
        steps += kind.replacements()
    return Plan(tuple(steps))


class _Kind:
    """The decisions for the units of one kind."""

    def __init__(self, fleet_name: str, wanted: Wanted, units: Sequence[Unit], used: int) -> None:
        self._fleet_name = fleet_name
        self._wanted = wanted
        self._ordinal = max([used, *(unit.ordinal for unit in units)])
        self._leaving = [unit for unit in units if unit.leaving]
        self._present = [unit for unit in units if not unit.leaving]
        # What has the wanted shape stays first, older ones before younger ones.
        by_worth = sorted(self._present, key=lambda unit: (unit.digest != wanted.digest, unit.ordinal))
        self._staying, self._surplus = by_worth[: wanted.count], by_worth[wanted.count :]

    def starts(self) -> list[Step]:
        """What is missing."""
        there = len(self._present)
        cause = f"{self._counted(self._wanted.count)} wanted, {there} there"
        missing = range(max(0, self._wanted.count - there))
        return [Start(self._wanted.kind, *self._next(), cause) for _ in missing]

    def replacements(self) -> list[Step]:
        """What has another shape."""
        return [
            Replace(self._wanted.kind, *self._next(), unit.name, difference(unit.shape, self._wanted.shape))
            for unit in sorted(self._staying, key=lambda unit: unit.ordinal)
            if unit.digest != self._wanted.digest
        ]

    def removals(self) -> list[Step]:
        """What is too much, and what was leaving already."""
        too_many = f"{self._counted(self._wanted.count)} wanted, {len(self._present)} there"
        surplus = [Remove(self._wanted.kind, unit.name, too_many) for unit in self._surplus]
        return [*(Remove(unit.kind, unit.name, "it was leaving already") for unit in self._leaving), *surplus]

    def _next(self) -> tuple[str, int]:
        self._ordinal += 1
        return NAMES[self._wanted.kind](self._fleet_name, self._ordinal), self._ordinal

    def _counted(self, count: int) -> str:
        return f"{count} {self._wanted.kind}{'' if count == 1 else 's'}"


def difference(before: Sequence[str], after: Sequence[str]) -> str:
    """What changed between two shapes, in words."""
    before, after = ([part for item in shape for part in _parts(item)] for shape in (before, after))
    gone = [f"-{item}" for item in before if item not in after]
    come = [f"+{item}" for item in after if item not in before]
    changes = [*gone, *come] if before and after else []
    more = f" and {len(changes) - SHOWN_DIFFERENCES} more" if len(changes) > SHOWN_DIFFERENCES else ""
    return "changed: " + ", ".join(changes[:SHOWN_DIFFERENCES]) + more if changes else "its shape changed"


def _parts(item: str) -> list[str]:
    """One item of a shape; one ``NAME={…}`` as ``NAME.KEY=VALUE`` for each key, since few of them differ."""
    name, _, value = item.partition("=")
    if not value.startswith("{"):
        return [item]
    try:
        plain = json.loads(value)
    except ValueError:
        return [item]
    return [f"{name}.{key}={json.dumps(one)}" for key, one in plain.items()]

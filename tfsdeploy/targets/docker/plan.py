"""What must be started, mended, replaced and removed on an engine so that a fleet is as its file says. Pure.

Replicas are replaced new before old, under another number, and so are gateways that share the host's ports. Otherwise
the ports of a gateway are its own, so it is renewed in its place: it leaves, and then comes back with its new shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfsdeploy.names import gateway_name
from tfsdeploy.render.docker.container import Kind
from tfsdeploy.targets.docker.observed import ON_HOST, Seen
from tfsdeploy.targets.plan import Remove, Replace, Start, Supervise, Unit, Wanted, difference, make_plan

PARTS: Mapping[Kind, tuple[str, ...]] = {
    "state": ("state",),
    "replica": ("agent", "server"),
    "gateway": ("agent", "envoy"),
}
"""The containers of a unit."""


@dataclass(frozen=True, slots=True)
class Mend:
    """Bring the parts of a unit that are gone or do not run."""

    kind: Kind
    name: str
    ordinal: int
    cause: str

    def __str__(self) -> str:
        return f"mend    {self.kind} {self.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Renew:
    """Let a unit leave, and start it again under its name."""

    kind: Kind
    name: str
    ordinal: int
    cause: str

    def __str__(self) -> str:
        return f"renew   {self.kind} {self.name}: {self.cause}"


Step = Mend | Renew | Start | Replace | Remove


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a fleet file asks for; ``keeper`` is the shape of what keeps the state, in words."""

    keeper_digest: str
    keeper: Sequence[str]
    replicas: Wanted
    gateways: Wanted


def docker_plan(fleet_name: str, wanted: Shapes, there: Sequence[Seen]) -> tuple[Step, ...]:
    """The steps in their order: what is gone and what is missing, what is too much, and then one after the other.

    Args:
        fleet_name: the fleet, for names.
        wanted: what the fleet file asks for.
        there: every container of the fleet.
    """
    units = _units(there)
    serving = [unit for unit in units.values() if unit.kind == "replica"]
    replicas = _replaced(fleet_name, wanted.replicas, serving)
    if ON_HOST in wanted.gateways.shape:
        gateways = _sharing(fleet_name, wanted.gateways, units)
    else:
        gateways = _gateways(fleet_name, wanted.gateways, units)
    going = {step.old if isinstance(step, Replace) else step.name for step in (*replicas, *gateways)}
    mends = [mend for mend in _mends(there, units) if mend.name not in going]
    kept = [
        Renew("state", seen.unit, 0, difference(seen.shape, wanted.keeper))
        for seen in there
        if seen.kind == "state" and seen.digest != wanted.keeper_digest
    ]
    steps = [*mends, *replicas, *gateways, *kept]
    return tuple(sorted(steps, key=lambda step: _rank(step, units, shared=ON_HOST in wanted.gateways.shape)))


def _rank(step: Step, units: Mapping[str, Unit], *, shared: bool) -> int:
    """Where a step stands: ports of the host change hands before somebody else listens there."""
    if isinstance(step, Remove) and step.kind == "gateway" and not shared and ON_HOST in units[step.name].shape:
        return 0
    if isinstance(step, Start) and step.kind == "gateway" and shared:
        return 6
    return 1 + (Mend, Start, Remove, Replace, Renew).index(type(step))


def _units(there: Sequence[Seen]) -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    for seen in there:
        if seen.kind != "state" and (seen.unit not in found or seen.digest != found[seen.unit].digest):
            found[seen.unit] = Unit(seen.unit, seen.kind, seen.ordinal, seen.digest, seen.shape)
    return found


def _mends(there: Sequence[Seen], units: Mapping[str, Unit]) -> list[Mend]:
    mends = []
    for unit in units.values():
        parts = {seen.part: seen for seen in there if seen.unit == unit.name}
        gone = [f"its {part} is gone" for part in PARTS[unit.kind] if part not in parts]
        still = [f"its {seen.part} does not run ({seen.status})" for seen in parts.values() if not seen.runs]
        lone = [f"its {seen.part} is not on the fleet's network" for seen in parts.values() if seen.lone]
        if gone or still or lone:
            mends.append(Mend(unit.kind, unit.name, unit.ordinal, ", ".join([*gone, *still, *lone])))
    return mends


def _replaced(fleet_name: str, wanted: Wanted, units: Sequence[Unit]) -> list[Step]:
    planned = make_plan(fleet_name, [wanted], units, used={"replica": 0, "gateway": 0}).steps
    return [step for step in planned if not isinstance(step, Supervise)]


def _sharing(fleet_name: str, wanted: Wanted, units: Mapping[str, Unit]) -> list[Step]:
    """Gateways that share ports; one that has its own still holds those that the others are to share."""
    there = {unit.name: unit for unit in units.values() if unit.kind == "gateway"}
    steps: list[Step] = []
    for step in _replaced(fleet_name, wanted, list(there.values())):
        if isinstance(step, Replace) and ON_HOST not in there[step.old].shape:
            steps.append(Renew(step.kind, step.old, there[step.old].ordinal, step.cause))
        else:
            steps.append(step)
    return steps


def _gateways(fleet_name: str, wanted: Wanted, units: Mapping[str, Unit]) -> list[Step]:
    found = [unit for unit in units.values() if unit.kind == "gateway"]
    there = {unit.ordinal: unit for unit in found if ON_HOST not in unit.shape}
    sharing = "it shares the host's ports, and the others are to have ports of their own"
    counted = f"{wanted.count} gateway{'' if wanted.count == 1 else 's'} wanted, {len(there)} there"
    steps: list[Step] = [Remove("gateway", unit.name, sharing) for unit in found if ON_HOST in unit.shape]
    for ordinal in range(1, wanted.count + 1):
        unit = there.get(ordinal)
        if unit is None:
            steps.append(Start("gateway", gateway_name(fleet_name, ordinal), ordinal, counted))
        elif unit.digest != wanted.digest:
            steps.append(Renew("gateway", unit.name, ordinal, difference(unit.shape, wanted.shape)))
    surplus = sorted(ordinal for ordinal in there if ordinal > wanted.count)
    return [*steps, *(Remove("gateway", there[ordinal].name, counted) for ordinal in surplus)]

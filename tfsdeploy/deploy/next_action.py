"""What a promote does next: a pure decision over what is known at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfsdeploy.deploy.watch import View
from tfsdeploy.deploy.words import listed
from tfsdeploy.protocol.agents import GatewayStatus, ReplicaStatus, State
from tfsdeploy.release.model import ModelRelease, Rollout

GATEWAY_SECONDS = 10.0
"""How long a switch waits for gateways of which nothing is heard: five times the two beats that make one silent."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the decision may look at.

    Attributes:
        name: the model.
        model: its state in the release document.
        id: of this run's rollout.
        begun: the generation that this run wrote first; what a replica said of an older one does not count.
        written: the newest generation that this run wrote.
        view: replicas and gateways.
        gate: by replica, what was wrong with its answer to the gate's request; None if it passed.
        waited: seconds since this run's last write.
        calm: seconds since the present step was seen effective on all gateways; 0 before.
        interval: seconds that a step stays before the next.
        timeout: seconds that one wait may take.
    """

    name: str
    model: ModelRelease
    id: str
    begun: int
    written: int
    view: View
    gate: Mapping[str, str | None] = field(default_factory=dict)
    waited: float = 0.0
    calm: float = 0.0
    interval: float = 0.0
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes: who is waited for, and why."""

    on: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Gate:
    """Send the gate's request to these replicas."""

    replicas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """Give the new version this share (percent) of the traffic."""

    share: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The last step is effective everywhere."""


@dataclass(frozen=True, slots=True)
class TakeOut:
    """The version cannot serve; no request of a client ever reached it."""

    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Traffic was asked to move, and not every gateway did: by gateway, why not."""

    behind: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lost:
    """The model no longer belongs to this run."""


Action = Wait | Gate | Shift | Finish | TakeOut | GiveUp | Lost


def next_action(now: Snapshot) -> Action:
    """The next step of a promote."""
    rollout = now.model.rollout
    if rollout is None or rollout.id != now.id:
        return Lost()
    if rollout.step == 0:
        return _before_traffic(now, rollout)
    return _while_shifting(now, rollout)


def _before_traffic(now: Snapshot, rollout: Rollout) -> Action:
    members = now.view.members()
    failed = {name: error for name, status in members.items() if (error := _failure(now, status, rollout.to))}
    failed |= {name: f"the gate failed: {error}" for name, error in now.gate.items() if error is not None}
    if failed:
        return TakeOut(listed(failed))
    waiting = {name: why for name, status in members.items() if (why := _not_available(now, status, rollout.to))}
    if not now.view.heard:
        waiting |= {name: "not heard yet" for name, status in now.view.replicas.items() if status is None}
    if not members:
        waiting |= {"replicas": "none answers"}
    if waiting:
        return _wait_or_take_out(now, rollout, waiting)
    ungated = tuple(sorted(members.keys() - now.gate.keys()))
    return Gate(ungated) if ungated else Shift(rollout.steps[0])


def _while_shifting(now: Snapshot, rollout: Rollout) -> Action:
    behind = gateways_behind(now.view, now.name, now.model, now.written)
    if not behind:
        if rollout.step >= len(rollout.steps):
            return Finish()
        if now.calm < now.interval:
            share = rollout.steps[rollout.step - 1]
            return Wait({f"step {share} %": f"{now.interval - now.calm:.0f} s until {rollout.steps[rollout.step]} %"})
        return Shift(rollout.steps[rollout.step])
    refused = {name: why for name, why in behind.items() if "FAILED" in why and _has_seen(now, name)}
    if refused and rollout.step == 1 and len(behind) == len(now.view.gateways):
        return TakeOut(listed(refused))
    if waited_enough(now.view, behind, now.waited, now.timeout):
        return GiveUp(behind)
    return Wait(behind)


def _has_seen(now: Snapshot, gateway: str) -> bool:
    """Whether a gateway speaks of what this run wrote, rather than of an earlier attempt."""
    status = now.view.gateways.get(gateway)
    return status is not None and status.generation >= now.written


def gateways_behind(view: View, name: str, model: ModelRelease, written: int) -> dict[str, str]:
    """The gateways where a model's wanted traffic is not effective yet, each with its reason.

    Args:
        view: what the gateways say.
        name: the model.
        model: its state in the release document.
        written: the generation that wrote its traffic.
    """
    if not view.gateways:
        return {"gateways": "there is none"}
    return {gateway: why for gateway, status in view.gateways.items() if (why := _behind(status, name, model, written))}


def waited_enough(view: View, behind: Mapping[str, str], waited: float, timeout: float) -> bool:
    """Whether to stop waiting for gateways: sooner if nothing at all is heard of those that are behind."""
    all_silent = all(view.gateways.get(name) is None for name in behind)
    return waited >= timeout or (all_silent and waited >= GATEWAY_SECONDS)


def _behind(status: GatewayStatus | None, name: str, model: ModelRelease, written: int) -> str:
    if status is None:
        return "does not answer"
    at = status.models.get(name)
    if at is not None and at.generation >= written and at.traffic == model.traffic:
        return ""
    if at is not None and at.waiting_for:
        return listed(at.waiting_for)
    return "has not switched yet"


def _failure(now: Snapshot, status: ReplicaStatus, version: int) -> str | None:
    """A replica's own words for why the version cannot load there."""
    row = status.state(now.name, version)
    if row is None or row.state is not State.FAILED or status.generation < now.begun:
        return None
    return row.error or "failed"


def _not_available(now: Snapshot, status: ReplicaStatus, version: int) -> str:
    row = status.state(now.name, version)
    if row is None or status.generation < now.begun:
        return "has not seen the change yet"
    if row.state is State.AVAILABLE:
        return ""
    if row.total:
        return f"{row.state} {100 * (row.done or 0) // row.total} %"
    return f"{row.state}: {row.error}" if row.error else row.state.value


def _wait_or_take_out(now: Snapshot, rollout: Rollout, waiting: Mapping[str, str]) -> Action:
    if now.waited < now.timeout:
        return Wait(waiting)
    return TakeOut(f"version {rollout.to} was not available after {now.timeout:.0f} s: {listed(waiting)}")

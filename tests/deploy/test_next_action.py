"""The decision of a promote, as a table: what is known, and what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tfsdeploy.deploy.next_action import Gate, Shift, Snapshot, TakeOut, Wait, next_action
from tfsdeploy.deploy.watch import View
from tfsdeploy.protocol.agents import GatewayModel, GatewayStatus, ReplicaStatus, State, VersionStatus
from tfsdeploy.release.model import ModelRelease, Rollout

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "deploy" / "next_action.yaml").read_text())


def replica(name: str, words: str) -> ReplicaStatus | None:
    """``AVAILABLE``, ``FAILED out of memory``, ``LOADING @3`` (at an older generation), ``leaving``, ``silent``."""
    if words == "silent":
        return None
    state, _, rest = words.partition(" ")
    if state == "leaving":
        return ReplicaStatus(name, 5, True, True, "", "", {})
    generation = int(rest[1:]) if rest.startswith("@") else 5
    if state == "absent":
        return ReplicaStatus(name, generation, True, False, "", "", {})
    status = VersionStatus(State(state), error=rest if state == "FAILED" and not rest.startswith("@") else None)
    return ReplicaStatus(name, generation, True, False, "", "", {"ranker": {8: status}})


def gateway(name: str, words: str, seen: int) -> GatewayStatus | None:
    """``7:100 @4``, ``silent``, or ``7:100 @4 r1=why``."""
    if words == "silent":
        return None
    parts = words.split(" ", 2)
    traffic = {int(v): int(s) for v, s in (pair.split(":") for pair in parts[0].split("+"))}
    waiting = dict([parts[2].split("=")]) if len(parts) > 2 else {}
    return GatewayStatus(name, seen, True, False, {"ranker": GatewayModel(int(parts[1][1:]), traffic, waiting)})


def snapshot(case: dict[str, Any]) -> Snapshot:
    steps = tuple(case.get("steps", [100]))
    step = case.get("step", 0)
    share = steps[step - 1] if step else 0
    traffic = {7: 100} if share == 0 else {8: 100} if share == 100 else {7: 100 - share, 8: share}
    rollout = Rollout(id=case.get("owner", "mine"), to=8, steps=steps, step=step, by="")
    view = View(
        {name: replica(name, words) for name, words in case.get("replicas", {}).items()},
        {name: gateway(name, words, case.get("seen", 9)) for name, words in case.get("gateways", {}).items()},
        heard=case.get("heard", True),
    )
    return Snapshot(
        name="ranker",
        model=ModelRelease(
            versions={7: None, 8: None}, traffic=traffic, main=7, rollout=None if case.get("ended") else rollout
        ),
        id="mine",
        begun=5,
        written=6,
        view=view,
        gate=case.get("gate", {}),
        waited=case.get("waited", 1.0),
        calm=case.get("calm", 0.0),
        interval=case.get("interval", 0.0),
        timeout=60.0,
    )


@pytest.mark.parametrize("name", CASES)
def test_next_action(name: str) -> None:
    case = CASES[name]
    action = next_action(snapshot(case))
    match action:
        case Gate(replicas):
            words = f"gate {' '.join(replicas)}"
        case Shift(share):
            words = f"shift {share}"
        case TakeOut(why):
            words = f"take out: {why}"
        case Wait(on):
            words = "wait for " + "; ".join(f"{who}: {why}" for who, why in on.items())
        case other:
            words = type(other).__name__.lower()
    assert words == case["action"]

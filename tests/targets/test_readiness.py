"""What a unit lacks, told in a line that can be read, however many models there are."""

from __future__ import annotations

from tfsdeploy.protocol.agents import GatewayModel, GatewayStatus, ReplicaStatus, State, VersionStatus
from tfsdeploy.targets.readiness import gateway_lacks, replica_lacks


def replica(models: int) -> ReplicaStatus:
    rows = {f"m{number}": {1: VersionStatus(State.LOADING)} for number in range(models)}
    return ReplicaStatus("r", 1, False, False, "127.0.0.1:1", "127.0.0.1:2", rows)


def test_some_of_many_models_are_named() -> None:
    assert replica_lacks(replica(2), 1) == "m0 1 is LOADING, m1 1 is LOADING"
    assert replica_lacks(replica(9), 1) == "m0 1 is LOADING, m1 1 is LOADING, m2 1 is LOADING and 6 more"
    assert replica_lacks(replica(0), 1) == "its model server is starting"
    assert replica_lacks(replica(1), 2) == "it follows release generation 1, and 2 is the newest"


def test_replicas_with_one_reason_are_told_together() -> None:
    waiting = {"r1": "LOADING", "r2": "LOADING", "r3": "no answer"}
    models = {"a": GatewayModel(1, {}, waiting), "b": GatewayModel(1, {})}
    assert gateway_lacks(GatewayStatus("g", 1, False, False, models)) == (
        "model a waits for r1, r2: LOADING, r3: no answer"
    )
    assert gateway_lacks(GatewayStatus("g", 1, False, False, {})) == "Envoy is starting"
    assert gateway_lacks(GatewayStatus("g", 1, True, False, models)) is None

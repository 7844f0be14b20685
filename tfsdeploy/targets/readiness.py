"""What a unit still lacks before it is in use, in words; pure."""

from __future__ import annotations

from tfsdeploy.protocol.agents import GatewayStatus, ReplicaStatus, State


def replica_lacks(status: ReplicaStatus, generation: int) -> str | None:
    """What a replica that answers lacks; None if nothing.

    Args:
        status: what its agent says.
        generation: the release that it must at least follow.
    """
    if status.generation < generation:
        return f"it follows release generation {status.generation}, and {generation} is the newest"
    if status.ready:
        return None
    under_way = [
        f"{model} {version} is {row.state.value}"
        for model, versions in sorted(status.models.items())
        for version, row in sorted(versions.items())
        if row.state not in (State.AVAILABLE, State.FAILED)
    ]
    return ", ".join(under_way) or "its model server is starting"


def gateway_lacks(status: GatewayStatus) -> str | None:
    """What a gateway that answers lacks; None if nothing."""
    if status.ready:
        return None
    return waits_for(status) or "Envoy is starting"


def waits_for(status: GatewayStatus) -> str:
    """Which models' barriers are closed at a gateway, and why; empty if none is."""
    return ", ".join(
        f"model {name} waits for {replica}: {reason}"
        for name, model in sorted(status.models.items())
        for replica, reason in sorted(model.waiting_for.items())
    )

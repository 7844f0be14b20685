"""What a unit still lacks before it is in use, in words; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfsdeploy.protocol.agents import GatewayStatus, ReplicaStatus, State

MOST = 3
"""Models that are named of those that are not ready."""


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
    rows = [
        (f"{model} {version} is {row.state.value}" + (f": {row.error}" if row.error else ""), row.state)
        for model, versions in sorted(status.models.items())
        for version, row in sorted(versions.items())
        if row.state is not State.AVAILABLE
    ]
    under_way = [words for words, state in rows if state is not State.FAILED]
    return _some(under_way or [words for words, _ in rows]) or "its model server is starting"


def gateway_lacks(status: GatewayStatus) -> str | None:
    """What a gateway that answers lacks; None if nothing."""
    if status.ready:
        return None
    return _barriers(status) or "Envoy is starting"


def _barriers(status: GatewayStatus) -> str:
    """Which models' barriers are closed at a gateway, and why; empty if none is."""
    return _some(
        [
            f"model {name} waits for {_who(model.waiting_for)}"
            for name, model in sorted(status.models.items())
            if model.waiting_for
        ]
    )


def _who(reasons: Mapping[str, str]) -> str:
    """``shop-serving-1, shop-serving-2: LOADING``."""
    replicas: dict[str, list[str]] = {}
    for replica, why in sorted(reasons.items()):
        replicas.setdefault(why, []).append(replica)
    return ", ".join(f"{', '.join(names)}: {why}" for why, names in replicas.items())


def _some(parts: Sequence[str]) -> str:
    """A fleet may have a thousand models; some tell enough."""
    left = len(parts) - MOST
    return ", ".join(parts[:MOST]) + (f" and {left} more" if left > 0 else "")

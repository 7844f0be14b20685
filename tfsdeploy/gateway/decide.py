"""What this gateway routes, and what its barriers wait for: from release, statuses and what is effective; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tfsdeploy.gateway.table import Endpoint, ModelTable, Table
from tfsdeploy.protocol.agents import GatewayModel, ReplicaStatus, State, VersionStatus
from tfsdeploy.release.model import ModelRelease, Release, Split

NOBODY = {"replicas": "no live replica"}
"""What a barrier waits for when there is nobody to ask: without members it never opens."""

NOT_SEEN = VersionStatus(State.PENDING, "has not seen the change yet")
"""What counts of a failure that a replica told of an older release: it may have looked before somebody mended it."""

_Members = Mapping[str, ReplicaStatus]


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one look at the fleet.

    Attributes:
        table: what Envoy is to route.
        models: the effective split of each model, the release that it comes from, and what its barrier waits for; what
            the next decision starts from.
    """

    table: Table
    models: Mapping[str, GatewayModel]


def decide(
    release: Release,
    statuses: Mapping[str, ReplicaStatus | None],
    previous: Mapping[str, GatewayModel],
    min_available: int,
) -> Decision:
    """Decide every model's effective split, and which replica may get its requests.

    Args:
        release: the newest one.
        statuses: replica -> what it says; None: nothing for two beats.
        previous: the models of the decision before, of the same life (uid) of the fleet.
        min_available: how many members open the barrier of a rollback; at least one, at most as many as there are.
    """
    members = {
        name: _as_of(release.generation, status)
        for name, status in sorted(statuses.items())
        if status is not None and not status.leaving
    }
    models = {
        name: _effective(name, model, previous.get(name), members, release.generation, min_available)
        for name, model in release.models.items()
    }
    tables = {name: _table(name, model, models[name].traffic, members) for name, model in release.models.items()}
    return Decision(Table(tables), models)


def _as_of(generation: int, status: ReplicaStatus) -> ReplicaStatus:
    """What a replica says, without its failures if it speaks of an older release."""
    if status.generation >= generation:
        return status
    models = {
        name: {version: NOT_SEEN if row.state is State.FAILED else row for version, row in versions.items()}
        for name, versions in status.models.items()
    }
    return replace(status, models=models)


def _effective(
    name: str,
    model: ModelRelease,
    previous: GatewayModel | None,
    members: _Members,
    generation: int,
    min_available: int,
) -> GatewayModel:
    """Once a split is effective it stays so, whoever joins or loses it: a barrier is passed once."""
    kept, since = ({}, 0) if previous is None else (previous.traffic, previous.generation)
    if model.traffic in ({}, kept, model.from_):
        return GatewayModel(generation, model.traffic)
    split = kept if model.from_ is None else model.from_
    waiting = _waiting(name, model, members, min_available) if split else _nobody_has(name, model, members)
    if not waiting:
        return GatewayModel(generation, model.traffic)
    return GatewayModel(since if split == kept else 0, split, waiting)


def _waiting(name: str, model: ModelRelease, members: _Members, min_available: int) -> Mapping[str, str]:
    """What the barrier waits for: replica -> reason; empty if it is open."""
    if not members:
        return NOBODY
    lacking = {replica: why for replica, status in members.items() if (why := _lacks(name, model.traffic, status))}
    enough = len(members) if model.opens == "all" else max(1, min(min_available, len(members)))
    return {} if len(members) - len(lacking) >= enough else lacking


def _nobody_has(name: str, model: ModelRelease, members: _Members) -> Mapping[str, str]:
    """What a gateway waits for that serves nothing of the model yet, nor was told what to serve meanwhile.

    The split is either settled everywhere else or the model's first, so nothing is at risk: every holder helps, and a
    replica that is still loading must not keep a new gateway from serving.
    """
    if any(_available(name, version, status) for version in _weighted(model.traffic) for status in members.values()):
        return {}
    return {replica: _lacks(name, model.traffic, status) for replica, status in members.items()} or NOBODY


def _lacks(name: str, split: Split, status: ReplicaStatus) -> str:
    """Why a replica does not have every weighted version; empty if it has. A failure is told before all else."""
    rows = [status.state(name, version) for version in _weighted(split)]
    for row in rows:
        if row is not None and row.state is State.FAILED:
            return _told(row)
    return next((_told(row) for row in rows if row is None or row.state is not State.AVAILABLE), "")


def _told(row: VersionStatus | None) -> str:
    state = State.PENDING if row is None else row.state
    return f"{state}: {row.error}" if row is not None and row.error else state.value


def _table(name: str, model: ModelRelease, effective: Split, members: _Members) -> ModelTable:
    """What is held and what is effective, each version with the replicas that report it AVAILABLE and nobody else."""
    versions = {*model.versions, *_weighted(effective)}
    return ModelTable(
        traffic=effective,
        labels=model.labels,
        versions={version: tuple(_holders(name, version, members)) for version in versions},
    )


def _holders(name: str, version: int, members: _Members) -> Iterable[Endpoint]:
    return (
        Endpoint(replica, status.rest, status.grpc)
        for replica, status in members.items()
        if _available(name, version, status)
    )


def _available(name: str, version: int, status: ReplicaStatus) -> bool:
    row = status.state(name, version)
    return row is not None and row.state is State.AVAILABLE


def _weighted(split: Split) -> list[int]:
    return sorted(version for version, share in split.items() if share > 0)

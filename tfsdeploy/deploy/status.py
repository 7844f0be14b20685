"""What `status` shows: release, replicas and gateways merged into one picture; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfsdeploy.deploy.next_action import gateways_behind
from tfsdeploy.deploy.pinned import told
from tfsdeploy.deploy.watch import View
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.protocol.agents import GatewayStatus, ReplicaStatus, State, VersionStatus
from tfsdeploy.release.model import ModelRelease, Release, Rollout
from tfsdeploy.targets.base import GatewayAddress, Settings


def status_document(
    settings: Settings,
    release: Release | None,
    view: View,
    addresses: Sequence[GatewayAddress],
    amiss: Sequence[str] = (),
    named: Iterable[str] = (),
    pins: Pins | None = None,
) -> dict[str, Any]:
    """The JSON document of `status`.

    Args:
        settings: what `up` last applied.
        release: the present generation; None before the first.
        view: what replicas and gateways say.
        addresses: the gateways that should be there.
        amiss: what the target says is amiss with itself.
        named: the models of the fleet file, if it is at hand.
        pins: what was last handed to the fleet.
    """
    found = [*amiss, *troubles(settings, release, view)]
    return {
        "fleet": settings.fleet,
        "target": settings.target,
        "owner": settings.owner or None,
        "generation": None if release is None else release.generation,
        "healthy": not found,
        "troubles": found,
        "stays": told(release, pins),
        "waiting": waiting(release, named),
        "gateways": [_gateway(address, view.gateways.get(address.name)) for address in addresses],
        "replicas": [_replica(name, status) for name, status in view.replicas.items()],
        "models": {} if release is None else {name: _model(model) for name, model in release.models.items()},
    }


def waiting(release: Release | None, named: Iterable[str]) -> list[str]:
    """The models of a fleet file that serve nothing until `up`, or a first promote, begins with a version."""
    there = {} if release is None else release.models
    return sorted(name for name in named if name not in there or not there[name].versions)


def troubles(settings: Settings, release: Release | None, view: View) -> list[str]:
    """Why the fleet is not healthy, a line each; empty if all is well."""
    if release is None:
        start = "a first `tfsdeploy promote` begins it" if settings.owner else "run `tfsdeploy up`"
        return [f"there is no release yet; {start}"]
    found = []
    if len(view.replicas) < settings.replicas:
        found.append(f"{len(view.replicas)} of {settings.replicas} replicas are there; `tfsdeploy up` brings them back")
    if not view.gateways:
        found.append("no gateway is there; `tfsdeploy up` brings it back")
    for replica, status in view.replicas.items():
        found += [f"replica {replica}: {trouble}" for trouble in _replica_troubles(status, release)]
    for gateway, state in view.gateways.items():
        if state is None:
            found.append(f"gateway {gateway}: does not answer")
        elif not state.ready:
            found.append(f"gateway {gateway}: not ready")
    for name, model in release.models.items():
        heard = View(view.replicas, {gateway: state for gateway, state in view.gateways.items() if state is not None})
        behind = gateways_behind(heard, name, model, 0) if heard.gateways else {}
        found += [f"model {name}: {gateway} is behind: {why}" for gateway, why in behind.items()]
    return found


def _replica_troubles(status: ReplicaStatus | None, release: Release) -> list[str]:
    if status is None:
        return ["does not answer"]
    if status.leaving:
        return []
    found = [] if status.ready else ["not ready"]
    if status.store_error is not None:
        found.append(f"{status.store_error}; what is loaded serves on")
    if status.generation < release.generation:
        found.append(f"follows generation {status.generation}, not {release.generation} yet")
    for name, model in release.models.items():
        for version in model.versions:
            row = status.state(name, version)
            if row is not None and row.state is State.FAILED:
                found.append(f"{name} {version} FAILED: {row.error}")
            elif row is None or row.state is not State.AVAILABLE:
                why = f": {row.error}" if row is not None and row.error else ""
                found.append(f"{name} {version} is {row.state if row else 'not there yet'}{why}")
    return found


def _gateway(address: GatewayAddress, status: GatewayStatus | None) -> dict[str, Any]:
    models = {} if status is None else status.models
    return {
        "name": address.name,
        "rest": address.rest,
        "grpc": address.grpc,
        "ready": status is not None and status.ready,
        "models": {
            name: {
                "generation": model.generation,
                "traffic": _split(model.traffic),
                "waitingFor": dict(model.waiting_for),
            }
            for name, model in models.items()
        },
    }


def _replica(name: str, status: ReplicaStatus | None) -> dict[str, Any]:
    if status is None:
        return {"name": name, "rest": None, "grpc": None, "generation": None, "ready": False, "models": {}}
    return {
        "name": name,
        "rest": f"http://{status.rest}",
        "grpc": status.grpc,
        "generation": status.generation,
        "ready": status.ready,
        "models": {
            model: {str(version): _version(row) for version, row in versions.items()}
            for model, versions in status.models.items()
        },
    }


def _version(row: VersionStatus) -> dict[str, Any]:
    return {"state": row.state.value, "error": row.error, "done": row.done, "total": row.total}


def _model(model: ModelRelease) -> dict[str, Any]:
    return {
        "traffic": _split(model.traffic),
        "loaded": sorted(model.versions),
        "previous": model.previous,
        "rejected": sorted(model.rejected),
        "labels": dict(model.labels),
        "rollout": None if model.rollout is None else _rollout(model.rollout),
    }


def _rollout(rollout: Rollout) -> dict[str, Any]:
    return {"to": rollout.to, "steps": list(rollout.steps), "step": rollout.step, "by": rollout.by}


def _split(split: Mapping[int, int]) -> dict[str, int]:
    return {str(version): share for version, share in split.items()}

"""What agents tell: the status documents of replicas and gateways, as frozen values and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

BEAT_SECONDS = 1.0
"""A long poll (`GET /v1/status?wait=30&etag=…`) sends an empty line this often until the document changes."""

SILENT_BEATS = 2
"""A replica from which nothing came for this many beats is out of every table."""

LEASE_SECONDS = 60.0
"""A gateway that polled within this time must acknowledge before a replica unloads a version."""


class State(StrEnum):
    """Where one version stands on one replica, in the order in which it happens."""

    PENDING = "PENDING"
    FETCHING = "FETCHING"
    VERIFYING = "VERIFYING"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    DRAINING = "DRAINING"
    UNLOADING = "UNLOADING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version on one replica.

    Attributes:
        state: where it stands.
        error: why it failed, in the server's own words, or why it is still PENDING; None otherwise.
        done: bytes fetched or verified so far; None where that means nothing.
        total: bytes to fetch or verify; None where that means nothing.
    """

    state: State
    error: str | None = None
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What a replica agent publishes.

    Attributes:
        replica: its name.
        generation: the release that it follows; 0 before the first.
        ready: everything that could be loaded is loaded.
        leaving: it is going away; it is no member of any barrier and of no table.
        rest: ``host:port`` of the model server's REST API.
        grpc: ``host:port`` of the model server's gRPC API.
        models: model -> version -> status; every version that is held, wanted or on its way out.
        store_error: what is wrong with the store under what is loaded; None if nothing is.
    """

    replica: str
    generation: int
    ready: bool
    leaving: bool
    rest: str
    grpc: str
    models: Mapping[str, Mapping[int, VersionStatus]] = field(default_factory=dict)
    store_error: str | None = None

    def state(self, model_name: str, version: int) -> VersionStatus | None:
        """One version's status; None if the replica does not know it."""
        return self.models.get(model_name, {}).get(version)


@dataclass(frozen=True, slots=True)
class GatewayModel:
    """What one gateway does with one model.

    Attributes:
        generation: the release whose traffic is effective, acknowledged by Envoy; 0 before the first.
        traffic: the effective split.
        waiting_for: replica -> why the barrier of the newest release is closed; empty when it is open.
    """

    generation: int
    traffic: Mapping[int, int]
    waiting_for: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """What a gateway agent publishes; ``generation`` is the newest release that it has seen and acted on."""

    gateway: str
    generation: int
    ready: bool
    leaving: bool
    models: Mapping[str, GatewayModel] = field(default_factory=dict)


_NONSENSE = (KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What comes of reading a document that is no status, beside ValueError."""


def etag(body: bytes) -> str:
    """The entity tag of a status document: a digest, so that the receiver of a long poll can compute it itself."""
    return hashlib.sha256(body.strip()).hexdigest()[:16]


def encode(status: ReplicaStatus | GatewayStatus) -> bytes:
    """A status document as one line of JSON; equal statuses give equal bytes."""
    plain = _replica_to_plain(status) if isinstance(status, ReplicaStatus) else _gateway_to_plain(status)
    return json.dumps(plain, separators=(",", ":")).encode()


def decode_replica(body: bytes) -> ReplicaStatus:
    """A replica's status; unknown keys are ignored.

    Raises:
        ValueError: the document is nonsense.
    """
    try:
        plain = json.loads(body)
        return ReplicaStatus(
            replica=str(plain["replica"]),
            generation=int(plain["generation"]),
            ready=bool(plain["ready"]),
            leaving=bool(plain.get("leaving", False)),
            rest=str(plain["rest"]),
            grpc=str(plain["grpc"]),
            models={
                str(name): {int(version): _version(row) for version, row in versions.items()}
                for name, versions in plain["models"].items()
            },
            store_error=None if plain.get("storeError") is None else str(plain["storeError"]),
        )
    except _NONSENSE as error:
        raise ValueError(f"replica status: {type(error).__name__}: {error}") from error


def decode_gateway(body: bytes) -> GatewayStatus:
    """A gateway's status; unknown keys are ignored.

    Raises:
        ValueError: the document is nonsense.
    """
    try:
        plain = json.loads(body)
        return GatewayStatus(
            gateway=str(plain["gateway"]),
            generation=int(plain["generation"]),
            ready=bool(plain["ready"]),
            leaving=bool(plain.get("leaving", False)),
            models={
                str(name): GatewayModel(
                    generation=int(model["generation"]),
                    traffic={int(version): int(share) for version, share in model["traffic"].items()},
                    waiting_for={str(replica): str(why) for replica, why in model["waitingFor"].items()},
                )
                for name, model in plain["models"].items()
            },
        )
    except _NONSENSE as error:
        raise ValueError(f"gateway status: {type(error).__name__}: {error}") from error


def _version(row: Mapping[str, Any]) -> VersionStatus:
    return VersionStatus(State(row["state"]), row.get("error"), row.get("done"), row.get("total"))


def _replica_to_plain(status: ReplicaStatus) -> dict[str, Any]:
    return {
        "replica": status.replica,
        "generation": status.generation,
        "ready": status.ready,
        "leaving": status.leaving,
        "rest": status.rest,
        "grpc": status.grpc,
        "models": {
            name: {str(version): _version_to_plain(row) for version, row in sorted(versions.items())}
            for name, versions in sorted(status.models.items())
        },
        "storeError": status.store_error,
    }


def _version_to_plain(row: VersionStatus) -> dict[str, Any]:
    plain: dict[str, Any] = {"state": row.state.value, "error": row.error}
    if row.total is not None:
        plain |= {"done": row.done or 0, "total": row.total}
    return plain


def _gateway_to_plain(status: GatewayStatus) -> dict[str, Any]:
    return {
        "gateway": status.gateway,
        "generation": status.generation,
        "ready": status.ready,
        "leaving": status.leaving,
        "models": {
            name: {
                "generation": model.generation,
                "traffic": {str(version): share for version, share in sorted(model.traffic.items())},
                "waitingFor": dict(sorted(model.waiting_for.items())),
            }
            for name, model in sorted(status.models.items())
        },
    }

"""The fleet as typed, frozen values: what a valid fleet file says, with every default filled in.

What each field may be, and what it means to whom, is declared once, in `tfsdeploy.fleet.grammar`; a field here is named
like the key there (``minAvailable`` → ``min_available``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from tfsdeploy.fleet.pins import Canary, Pin, Pins

__all__ = [
    "Agent",
    "Autoscale",
    "Batching",
    "Canary",
    "Fleet",
    "Gateway",
    "Model",
    "Monitoring",
    "Resources",
    "Serving",
    "Share",
    "Store",
    "StoreOptions",
    "Toleration",
    "to_plain",
]

TargetKind = Literal["local", "docker", "kubernetes"]
ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer"]
NetworkKind = Literal["bridge", "host"]
VolumeKind = Literal["claim", "inline"]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a store is reached and what of it is believed; secrets only as the name of what holds them.

    ``require_signature`` are public keys as `tfsdeploy.fleet.keys` writes them.
    """

    endpoint: str | None
    region: str | None
    credentials_secret: str | None
    path_style: bool | None
    ca_file: str | None
    ca_config_map: str | None
    anonymous: bool
    bandwidth: str | None
    conditional_writes: bool
    require_signature: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Where the models live.

    Attributes:
        url: ``SCHEME://…`` without a trailing slash; a ``file://`` URL is absolute.
        options: how it is reached.
    """

    url: str
    options: StoreOptions

    @property
    def scheme(self) -> str:
        """``file``, ``nfs``, ``pvc``, ``s3``, ``gs`` or ``az``."""
        return self.url.partition("://")[0]


@dataclass(frozen=True, slots=True)
class Resources:
    """What one replica may use, in Kubernetes' notation; None: no limit."""

    cpu: str | None
    memory: str | None
    gpu: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one container beside a model server may use, in Kubernetes' notation."""

    cpu: str
    memory: str


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint of nodes that pods put up with; None: whatever it is."""

    key: str
    value: str | None
    effect: str | None


@dataclass(frozen=True, slots=True)
class Autoscale:
    """How many replicas there are, by load: ``min`` to ``max``, at ``cpu`` percent of what each asks for."""

    min: int
    max: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Agent:
    """The agents beside model servers and gateways."""

    image: str
    resources: Share


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What the cluster's monitoring is given, and where it runs."""

    namespace: str
    pod_monitor: bool
    alerts: bool
    dashboard: bool


@dataclass(frozen=True, slots=True)
class Batching:
    """TF Serving's BatchingParameters; None: the server's own default."""

    max_batch_size: int | None
    batch_timeout_micros: int | None
    num_batch_threads: int | None
    max_enqueued_batches: int | None


@dataclass(frozen=True, slots=True)
class Serving:
    """The replicas. ``server`` is ``embedded``, ``embedded-like-tfs``, or the absolute path of a program.

    With ``autoscale``, ``replicas`` is its least.
    """

    replicas: int
    min_available: int
    server: str
    image: str
    resources: Resources
    disk: str | None
    node_cache: str | None
    keep: int
    batching: Batching | None
    flags: Mapping[str, bool | int | float | str]
    drain_seconds: float
    autoscale: Autoscale | None
    surge: int
    unavailable: int
    volume: VolumeKind
    service_account_annotations: Mapping[str, str]
    priority_class: str | None
    node_selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The only address that clients know."""

    replicas: int
    rest: int
    grpc: int
    address: str
    network: NetworkKind
    service: ServiceType
    service_annotations: Mapping[str, str]
    tls: str | None
    image: str
    resources: Share
    timeout_seconds: float
    per_try_timeout_seconds: float
    max_request_bytes: int
    priority_class: str | None
    node_selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Model:
    """One model. ``version`` None: `promote` and `rollback` own it; ``example`` is an absolute path."""

    version: int | None
    canary: Canary | None
    labels: Mapping[str, int]
    example: Path | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet, as its file describes it.

    Attributes:
        name: a DNS label of at most 40 characters.
        file: the absolute path of the fleet file.
        target: where it lives unless the command line says otherwise.
        models: name → model, in the file's order.
        namespace: where it lives on Kubernetes; None: whoever applies it says.
        image_registry: where the images come from that name no registry themselves.
    """

    name: str
    file: Path
    target: TargetKind
    store: Store
    serving: Serving
    gateway: Gateway
    models: Mapping[str, Model]
    namespace: str | None
    agent: Agent
    image_registry: str | None
    image_pull_secrets: tuple[str, ...]
    monitoring: Monitoring

    def pins(self) -> Pins:
        """What the file asks for, of the models whose version it owns."""
        return Pins(
            {
                name: Pin(model.version, model.canary, model.labels)
                for name, model in self.models.items()
                if model.version is not None
            }
        )


def to_plain(value: Any) -> Any:
    """Any value of this module as JSON values, by field name; feed it to `canonical_json` for a digest of a shape."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value

"""The kinds of objects that a fleet is made of: where the API server keeps each, and in which order to apply them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INVENTORY_LABEL = "tfsdeploy/fleet"
"""Every object of a fleet has it, with the fleet's name: what has it is ours, what has it not is never touched."""

NAMESPACE_LABEL = "tfsdeploy/namespace"
"""On objects that live in no namespace: that of their fleet, for two namespaces may have fleets of one name."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind.

    Attributes:
        name: as in manifests.
        api: path of its API, such as ``apis/apps/v1``.
        plural: as in paths and Roles.
        namespaced: it lives in a namespace.
        rare: most fleets have none, so whoever may not list them most likely needs not.
        makes_pods: pods come and go with it.
        installed: no cluster has the kind by itself; somebody has to install its definition.
    """

    name: str
    api: str
    plural: str
    namespaced: bool = True
    rare: bool = False
    makes_pods: bool = False
    installed: bool = False

    @property
    def group(self) -> str:
        """The API group, as Roles name it; empty for the core."""
        return self.api.split("/")[1] if self.api.startswith("apis/") else ""


# What others refer to comes first; what asks for pods comes last.
KINDS = (
    Kind("ServiceAccount", "api/v1", "serviceaccounts"),
    Kind("Role", "apis/rbac.authorization.k8s.io/v1", "roles"),
    Kind("RoleBinding", "apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    Kind("ConfigMap", "api/v1", "configmaps"),
    Kind("PersistentVolume", "api/v1", "persistentvolumes", namespaced=False, rare=True),
    Kind("PersistentVolumeClaim", "api/v1", "persistentvolumeclaims"),
    Kind("NetworkPolicy", "apis/networking.k8s.io/v1", "networkpolicies"),
    Kind("Service", "api/v1", "services"),
    Kind("PodDisruptionBudget", "apis/policy/v1", "poddisruptionbudgets"),
    Kind("HorizontalPodAutoscaler", "apis/autoscaling/v2", "horizontalpodautoscalers", makes_pods=True),
    Kind("PodMonitor", "apis/monitoring.coreos.com/v1", "podmonitors", rare=True, installed=True),
    Kind("PrometheusRule", "apis/monitoring.coreos.com/v1", "prometheusrules", rare=True, installed=True),
    Kind("Deployment", "apis/apps/v1", "deployments", makes_pods=True),
    Kind("Job", "apis/batch/v1", "jobs", makes_pods=True),
)

POD = Kind("Pod", "api/v1", "pods")
EVENT = Kind("Event", "api/v1", "events")
NODE = Kind("Node", "api/v1", "nodes", namespaced=False)
LEASE = Kind("Lease", "apis/coordination.k8s.io/v1", "leases")

_BY_NAME = {kind.name: kind for kind in (*KINDS, POD, EVENT, LEASE)}
_ORDER = {kind.name: number for number, kind in enumerate(KINDS)}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind of an object."""
    return _BY_NAME[manifest["kind"]]


def kind_named(name: str) -> Kind:
    """A kind by its name in manifests."""
    return _BY_NAME[name]


def in_order(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects in the order in which they are applied."""
    return sorted(manifests, key=lambda manifest: (_ORDER[manifest["kind"]], manifest["metadata"]["name"]))


def words(manifest: Mapping[str, Any]) -> str:
    """An object as people name it: ``deployment/shop-serving``."""
    return f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"

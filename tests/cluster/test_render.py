"""A real API server takes what is rendered: every field is known, every value valid, every pod within its level."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.namespace import Namespace
from tests.render.kubernetes.goldens import LEVELS, NAMES, ROOT, fleet_file
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.render.kubernetes.artefacts import KUSTOMIZATION, kubernetes_artefacts

pytestmark = pytest.mark.cluster

DRY = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=tfsdeploy", "-f", "-")

OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.77.2"

PRIORITY_CLASS = "business-critical"
"""What tests/golden/kubernetes/everything asks for; it belongs to no namespace."""


@pytest.fixture
def priority_class(cluster: Cluster) -> Iterator[str]:
    made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": PRIORITY_CLASS}}
    cluster.apply({**made, "value": 1})
    yield PRIORITY_CLASS
    cluster.kubectl("delete", "priorityclass", PRIORITY_CLASS)


@pytest.fixture(scope="module")
def operator_kinds(cluster: Cluster) -> Iterator[None]:
    """The kinds of the Prometheus Operator that a fleet has, as it defines them itself."""
    words = ["go", "mod", "download", "-json", OPERATOR]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    folder = Path(found["Dir"]) / "example" / "prometheus-operator-crd"
    files = [
        f"--filename={folder / f'monitoring.coreos.com_{kind}.yaml'}" for kind in ("podmonitors", "prometheusrules")
    ]
    cluster.kubectl("apply", "--server-side", *files)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=120s", *files)
    yield
    cluster.kubectl("delete", *files)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("priority_class", "operator_kinds")
def test_every_object_is_taken(name: str, namespace: Namespace) -> None:
    allow(namespace, LEVELS.get(name, "restricted"))
    objects = rendered(name, namespace)
    told = dry(namespace, *objects)
    assert told.count("serverside-applied") == len(objects)
    # Of Deployments and Jobs one is only warned; their pods are what a level is enforced on.
    namespace.apply(*(item for item in objects if item["kind"] == "ServiceAccount"))
    assert dry(namespace, *pods(objects)).count("serverside-applied") == len(pods(objects))


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_the_level_that_is_told_is_needed(name: str, namespace: Namespace) -> None:
    stricter = {"baseline": "restricted", "privileged": "baseline"}[LEVELS[name]]
    allow(namespace, stricter)
    objects = rendered(name, namespace)
    namespace.apply(*(item for item in objects if item["kind"] == "ServiceAccount"))
    replica = next(pod for pod in pods(objects) if pod["metadata"]["name"].endswith("-serving"))
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        dry(namespace, replica)


@pytest.mark.parametrize("name", NAMES)
def test_kustomize_takes_the_folder(name: str, cluster: Cluster) -> None:
    folder = ROOT / name / "rendered"
    built = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(folder))))
    assert len(built) == len(list(folder.iterdir())) - 1


def allow(namespace: Namespace, level: str) -> None:
    """Let the namespace have pods of a Pod Security level."""
    modes = [f"pod-security.kubernetes.io/{mode}={level}" for mode in ("enforce", "warn")]
    namespace.cluster.kubectl("label", "--overwrite", "namespace", namespace.name, *modes)


def rendered(name: str, namespace: Namespace) -> list[dict[str, Any]]:
    """A golden's objects in a namespace."""
    texts = kubernetes_artefacts(load_fleet(fleet_file(name)), namespace.name)
    return [yaml.safe_load(text) for path, text in texts.items() if path != KUSTOMIZATION]


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that the objects would make."""
    return [
        {"apiVersion": "v1", "kind": "Pod", **item["spec"]["template"]}
        | {"metadata": {**item["spec"]["template"]["metadata"], "name": item["metadata"]["name"]}}
        for item in objects
        if item["kind"] in ("Deployment", "Job")
    ]


def dry(namespace: Namespace, *objects: dict[str, Any]) -> str:
    """What the API server says to objects, without making them; what it refuses is an AssertionError."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return namespace.cluster.kubectl("--namespace", namespace.name, *DRY, text=text)

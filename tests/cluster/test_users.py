"""Who drives a fleet: a user with just enough rights in one namespace, one without, and two with fleets of one name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.live import ClusterFleet, M
from tests.cluster.namespace import Namespace
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.render.kubernetes.artefacts import KUSTOMIZATION, kubernetes_artefacts
from tfsdeploy.targets.kubernetes.permissions import needed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def user(namespace: Namespace, role: str, folder: Path, *, kind: str = "clusterrole") -> Path:
    """The kubeconfig of somebody with one role in a namespace, by default one of the cluster's, and nothing else."""
    namespace.kubectl("create", "serviceaccount", role)
    namespace.kubectl("create", "rolebinding", role, f"--{kind}={role}", f"--serviceaccount={namespace.name}:{role}")
    document = yaml.safe_load(namespace.cluster.kubeconfig.read_text())
    document["users"] = [{"name": role, "user": {"token": namespace.kubectl("create", "token", role).strip()}}]
    document["contexts"][0]["context"]["user"] = role
    file = folder / f"{role}.kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


def role(fleet: ClusterFleet, name: str) -> dict[str, Any]:
    """A Role of exactly what the preflight asks for."""
    (fleet.folder / "fleet.yaml").write_text(yaml.safe_dump(fleet.spec))
    texts = kubernetes_artefacts(load_fleet(fleet.folder / "fleet.yaml"))
    manifests = [yaml.safe_load(text) for path, text in texts.items() if path != KUSTOMIZATION]
    rules = [
        {"apiGroups": [one.kind.group], "resources": [one.resource], "verbs": [one.verb]} for one in needed(manifests)
    ]
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}


def test_who_has_what_the_preflight_asks_for_needs_nothing_else(fleet: ClusterFleet) -> None:
    fleet.spec["serving"]["replicas"] = 1
    fleet.spec["gateway"]["replicas"] = 1
    fleet.push(M, 1)
    fleet.push(M, 2)
    fleet.spec["models"] = {M: {"version": 1}}
    fleet.namespace.apply(role(fleet, "operator"))
    fleet.kubeconfig = user(fleet.namespace, "operator", fleet.folder, kind="role")
    fleet.up()
    assert fleet.run("diff").out.endswith("fleet.yaml says\n")
    fleet.run("promote", M, "2")
    answered = fleet.run("predict", M, '{"instances": [1.0]}', "-o", "json").document["answer"]
    assert answered["predictions"] == [2.0]
    assert "gateway" in fleet.run("logs", "--tail", "3").out
    assert fleet.run("bench", M, "--rate", "20", "--duration", "1s", "-o", "json").document["failed"] == 0
    operator, fleet.kubeconfig = fleet.kubeconfig, user(fleet.namespace, "admin", fleet.folder)
    fleet.up()
    fleet.kubeconfig = operator
    fleet.run("down", "--yes")
    assert fleet.namespace.get("deployments") == []


def test_what_a_user_lacks_is_said_before_anything_is_made(namespace: Namespace, tmp_path: Path) -> None:
    fleet = ClusterFleet(tmp_path, namespace)
    fleet.spec["models"] = {M: {}}
    fleet.kubeconfig = user(fleet.namespace, "view", fleet.folder)
    error = fleet.run("up", "-o", "json", code=1).document["error"]
    for words in ("patch deployments.apps", "create leases.coordination.k8s.io", "get pods/portforward"):
        assert words in error["message"]
    assert "list pods" not in error["message"]
    elsewhere = fleet.run("status", "-o", "json", code=2).document["error"]
    assert elsewhere["where"].endswith(f"namespace {namespace.name}")
    assert [item for item in fleet.namespace.get("configmaps") if "shop" in item["metadata"]["name"]] == []


def test_a_namesake_in_another_namespace_is_somebody_else(
    namespace: Namespace, cluster: Cluster, tmp_path: Path
) -> None:
    # Nobody mounts them: volumes are all that two fleets of one name could take from each other.
    other = Namespace(cluster, f"{namespace.name}-2")
    other.create()
    try:
        ours, theirs = (ClusterFleet(tmp_path / where.name, where) for where in (namespace, other))
        for fleet in (ours, theirs):
            fleet.folder.mkdir()
            fleet.spec["models"] = {M: {}}
            fleet.spec["store"] = "nfs://files.test/models"
            fleet.run("render", "-o", "deploy")
            manifests = [fleet.folder / "deploy" / f"models-{kind}.yaml" for kind in ("volume", "claim")]
            fleet.namespace.apply(*(yaml.safe_load(file.read_text()) for file in manifests))
        name = f"{other.name}.shop-models"
        assert "persistentvolume" not in ours.run("diff", code=None).out.replace("create  persistentvolume", "")
        ours.run("down", "--yes")
        left = [item["metadata"]["name"] for item in json.loads(cluster.kubectl("get", "pv", "-o", "json"))["items"]]
        assert name in left
        assert f"{namespace.name}.shop-models" not in left
        theirs.run("down", "--yes")
        assert name not in cluster.kubectl("get", "pv", "-o", "name")
    finally:
        other.delete()

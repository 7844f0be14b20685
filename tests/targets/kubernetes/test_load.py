"""Which contexts are clusters of this machine, and which images their nodes lack."""

from __future__ import annotations

from typing import Any

import pytest

from tfsdeploy.targets.kubernetes.load import LocalCluster, full_name, images_of, lacking, local_cluster

SIGNED = [{"name": "context_info", "extension": {"provider": "minikube.sigs.k8s.io", "version": "v1.37.0"}}]


def context(name: str, **inner: Any) -> dict[str, Any]:
    """A context as a kubeconfig has it."""
    return {"name": name, "context": {"cluster": name, "user": name, **inner}}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (context("kind-kind"), "kind load docker-image a:1 --name kind"),
        (context("kind-ci-2"), "kind load docker-image a:1 --name ci-2"),
        (context("minikube", extensions=SIGNED), "minikube image load a:1 --profile minikube"),
        (context("work", cluster="lab", extensions=SIGNED), "minikube image load a:1 --profile lab"),
        (context("minikube"), None),
        (context("kindred"), None),
        (context("gke_shop_europe", extensions=[{"name": "x", "extension": {"provider": "other"}}]), None),
        (context("odd", extensions=[{"name": "x"}]), None),
    ],
)
def test_contexts(entry: dict[str, Any], words: str | None) -> None:
    found = local_cluster(entry)
    assert (None if found is None else " ".join(found.load_command("a:1"))) == words


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("tensorflow/serving:2.20.0", "docker.io/tensorflow/serving:2.20.0"),
        ("registry.example/a/b", "registry.example/a/b:latest"),
        ("localhost/a:1", "localhost/a:1"),
        ("host:5000/a", "host:5000/a:latest"),
        ("a/b@sha256:00", "docker.io/a/b@sha256:00"),
    ],
)
def test_names(short: str, full: str) -> None:
    assert full_name(short) == full


def test_an_image_is_lacking_if_one_node_lacks_it() -> None:
    def node(*names: str) -> dict[str, Any]:
        return {"status": {"images": [{"names": [*names]}, {"sizeBytes": 1}]}}

    nodes = [node("docker.io/a/b:1", "docker.io/c/d:1"), node("docker.io/a/b:1")]
    assert lacking(["a/b:1", "c/d:1", "e/f:1"], nodes) == ["c/d:1", "e/f:1"]
    assert lacking(["a/b:1"], []) == []


def test_images_of_objects() -> None:
    pod = {"initContainers": [{"image": "agent"}], "containers": [{"image": "server"}, {"image": "agent"}]}
    objects = [{"spec": {"template": {"spec": pod}}}, {"data": {}}, {"spec": {"ports": []}}]
    assert images_of(objects) == ["agent", "server"]


def test_a_tool_and_a_name() -> None:
    assert local_cluster(context("kind-a")) == LocalCluster("kind", "a")

"""Clusters on this machine, kind's and minikube's: their nodes are given the images that no registry has."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.programs import run
from tfsdeploy.report import Report
from tfsdeploy.targets.kubernetes.kinds import NODE
from tfsdeploy.targets.kubernetes.objects import Manifest, Objects

_KIND = "kind-"
_MINIKUBE = "minikube.sigs.k8s.io"


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A cluster on this machine: the tool that made it, and the name that the tool gave it."""

    tool: str
    name: str

    def load_command(self, image: str) -> list[str]:
        """The words that give an image of the local engine to every node."""
        if self.tool == "kind":
            return ["kind", "load", "docker-image", image, "--name", self.name]
        return ["minikube", "image", "load", image, "--profile", self.name]


def local_cluster(context: Mapping[str, Any]) -> LocalCluster | None:
    """The local cluster that a context of a kubeconfig leads to; None if it is another one.

    kind names its contexts; minikube signs them (pkg/minikube/kubeconfig of both).
    """
    name, inner = str(context["name"]), context["context"]
    if name.startswith(_KIND):
        return LocalCluster("kind", name.removeprefix(_KIND))
    signs = [row.get("extension") or {} for row in inner.get("extensions") or ()]
    if any(sign.get("provider") == _MINIKUBE for sign in signs):
        return LocalCluster("minikube", str(inner["cluster"]))
    return None


def images_of(manifests: Iterable[Manifest]) -> list[str]:
    """The images that objects run, each once."""
    pods = [m["spec"]["template"]["spec"] for m in manifests if "template" in (m.get("spec") or {})]
    rows = [row for pod in pods for row in (*pod.get("initContainers", ()), *pod["containers"])]
    return list(dict.fromkeys(row["image"] for row in rows))


def lacking(images: Sequence[str], nodes: Sequence[Manifest]) -> list[str]:
    """Those of ``images`` that some node says it does not have."""
    there = [
        {full_name(name) for row in node["status"].get("images", ()) for name in row.get("names") or ()}
        for node in nodes
    ]
    return [image for image in images if not all(full_name(image) in names for names in there)]


def full_name(image: str) -> str:
    """An image's name with all that is understood (distribution/reference, normalize.go)."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        image = f"docker.io/{image}"
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def load_lacking(objects: Objects, images: Sequence[str], report: Report) -> None:
    """Give a local cluster the images that its nodes lack and the local engine has; others are pulled as ever.

    Raises:
        TfsdeployError: the tool failed.
    """
    cluster = local_cluster(objects.connection.context_entry)
    if cluster is None or shutil.which(cluster.tool) is None:
        return
    try:
        nodes = objects.list(NODE)
    except TfsdeployError:
        return  # who may not look at nodes cannot know what they lack
    load(cluster, [image for image in lacking(images, nodes) if in_engine(image)], report)


def load(cluster: LocalCluster, images: Sequence[str], report: Report) -> None:
    """Give images of the local engine to every node of a local cluster.

    Raises:
        TfsdeployError: the tool is not there, or failed.
    """
    for image in images:
        report.waiting(f"loading {image} into {cluster.tool} cluster {cluster.name}")
        run(cluster.load_command(image))
        report.say(f"loaded {image} into {cluster.tool} cluster {cluster.name}")


def in_engine(image: str) -> bool:
    """Whether the local engine has an image; no engine has none."""
    try:
        run(["docker", "image", "inspect", "--format", "{{.Id}}", image])
    except TfsdeployError:
        return False
    return True

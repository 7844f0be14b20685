"""The contract of every target, kept by the one for Kubernetes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.namespace import Namespace
from tests.cluster.product import SERVER_IMAGE
from tests.cluster.volume import claim_of
from tests.contract.place import Place
from tests.contract.test_target import *  # noqa: F403
from tfsdeploy.deploy.replica_store import ReplicaModels
from tfsdeploy.report import Silent
from tfsdeploy.store.example import write_example
from tfsdeploy.store.store import FileStore
from tfsdeploy.targets.kubernetes.connection import Place as ClusterPlace
from tfsdeploy.targets.kubernetes.target import KubernetesTarget

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace with a claim, its store with one model, and a target where nothing is yet."""
    folder = tmp_path_factory.mktemp("contract-kubernetes")
    write_example(folder / "source")
    FileStore(folder / "models").publish("half_plus_two", folder / "source", 1)
    namespace = Namespace(cluster, f"contract-{os.getpid()}")
    namespace.create()
    try:
        with claim_of(namespace, "models", folder / "models"), pytest.MonkeyPatch.context() as environment:
            environment.setenv("KUBECONFIG", str(cluster.kubeconfig))
            target = KubernetesTarget("contract", ClusterPlace(namespace=namespace.name))
            models = ReplicaModels(target, "pvc://models")
            yield Place(folder, target, models, "pvc://models", serving=f'image: "{SERVER_IMAGE}"')
            target.remove(Silent(), timeout=120)
    finally:
        namespace.delete()

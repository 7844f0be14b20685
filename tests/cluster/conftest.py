"""The cluster for tests, and a namespace for each: started if it does not run, and then ended again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.live import ClusterFleet, M
from tests.cluster.namespace import OF_TESTS, Namespace
from tests.cluster.product import ROOT
from tests.cluster.volume import claim_of
from tfsdeploy.agent.kubernetes.account import Account

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NUMBERS = count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, with the product's images on its nodes."""
    made = Cluster()
    ours = not made.is_up()
    try:
        # In a process of its own: what is started outlives it, and is none of pytest's.
        subprocess.run([sys.executable, "-m", "tests.cluster", "up"], check=True, cwd=ROOT)
        yield made
        for name in made.kubectl("get", "namespaces", "-l", f"{OF_TESTS}={os.getpid()}", "-o", "name").split():
            made.kubectl("wait", name, "--for=delete", "--timeout=120s")
    finally:
        if ours:
            made.stop()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of the test's own, at the strictest level of Pod Security."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    made = Namespace(cluster, f"{words[:40].strip('-')}-{os.getpid()}-{next(NUMBERS)}")
    made.create()
    try:
        yield made
    finally:
        made.delete()


@pytest.fixture
def account(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> Account:
    """The administrator, as if it were the service account of a pod in the namespace."""
    plain = json.loads(cluster.kubeconfig.read_text())
    server = plain["clusters"][0]["cluster"]
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text(plain["users"][0]["user"]["token"])
    (folder / "ca.crt").write_bytes(Path(server["certificate-authority"]).read_bytes())
    (folder / "namespace").write_text(namespace.name)
    # Its certificate is for this name too, wherever it is reached.
    return Account(server["server"].replace("127.0.0.1", "localhost"), folder)


@pytest.fixture(scope="module")
def shop(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFleet]:
    """Two replicas and two gateways; model m serves version 1, and has two more in the store."""
    namespace = Namespace(cluster, f"shop-{os.getpid()}-{next(NUMBERS)}")
    namespace.create()
    fleet = ClusterFleet(tmp_path_factory.mktemp("shop"), namespace)
    try:
        with claim_of(namespace, "models", fleet.folder / "models"):
            fleet.push(M, 1)
            fleet.spec["models"] = {M: {}}
            fleet.up()
            fleet.answers()
            fleet.push(M, 2)
            fleet.push(M, 3)
            yield fleet
            fleet.run("down", "--yes")
            # What a Deployment has made goes after it.
            left = partial(namespace.get, "all,configmaps,roles,networkpolicies", "-l", "tfsdeploy/fleet=shop")
            namespace.wait("the end of everything", lambda: not left())
    finally:
        namespace.delete()


@pytest.fixture
def fleet(shop: ClusterFleet) -> ClusterFleet:
    """The fleet, healthy, with version 1 or what the scenario before has left."""
    shop.healthy()
    return shop

"""A fleet on the cluster whose models are in S3: pods fetch them with the credentials of a Secret."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests import s3
from tests.cluster.cluster import Cluster
from tests.cluster.live import ClusterFleet, M
from tests.cluster.namespace import Namespace
from tests.cluster.product import ROOT
from tests.cluster.test_render import allow
from tests.keys import write_key
from tests.s3_outage import MortalS3
from tfsdeploy.store.example import write_example
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.said import NOTHING, Said
from tfsdeploy.store.signing import SigningKey

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PORTS = tuple(range(28101, 28109))
"""Free ones: nothing else is in the first node's network but what the cluster made."""


TLS_PORT = 28109


def certified(folder: Path, address: str) -> tuple[Path, Path]:
    """A certificate for an address, which nobody trusts who is not given it, and its key."""
    certificate, key = folder / "ca.crt", folder / "key.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=store -addext basicConstraints=critical,CA:FALSE"
    argv = ["openssl", *words.split(), "-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", certificate]
    subprocess.run(argv, check=True, capture_output=True)
    return certificate, key


@contextmanager
def server_inside(cluster: Cluster, folder: Path) -> Iterator[MortalS3]:
    """An S3 server at the first node's address."""
    first, address = cluster.machine(1).first.pid, cluster.nodes[0].address
    folder.mkdir(parents=True)
    certificate, key = certified(folder, address)
    secured = (f"-s3.port.https={TLS_PORT}", f"-s3.cert.file={certificate}", f"-s3.key.file={key}")
    argv = [sys.executable, "-m", "tests.cluster.forward", str(first), address, str(PORTS[6])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as forward:
        assert forward.stdout is not None
        reached = f"http://127.0.0.1:{forward.stdout.readline().strip()}"
        inside = ("nsenter", f"--target={first}", "--net", "--")
        server = MortalS3(folder, PORTS, address, inside, reached, secured)
        server.start()
        try:
            yield server
        finally:
            server.kill()
            forward.kill()


def test_models_come_from_s3(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promote, roll back, lose the store and a pod's agent: nothing fails, and the secret is in no object of ours."""
    fleet = ClusterFleet(tmp_path / "fleet", namespace)
    fleet.folder.mkdir()
    data = {"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    with server_inside(namespace.cluster, tmp_path / "s3") as server:
        namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "models"}, "stringData": data})
        store = ObjectStore(server.open("prod"))
        key = SigningKey(write_key(fleet.folder, "release")[0])
        for version, said in ((1, Said(sign=key.sign)), (2, Said(sign=key.sign)), (3, NOTHING)):
            write_example(tmp_path / f"{version}", offset=version - 0.5)
            store.publish(M, tmp_path / f"{version}", version, said=said)
        secured = f"https://{server.host}:{TLS_PORT}"
        options = {
            "endpoint": secured,
            "region": s3.REGION,
            "credentialsSecret": "models",
            "caConfigMap": "store-ca",
            "requireSignature": ["release.pub.pem"],
        }
        namespace.kubectl("create", "configmap", "store-ca", f"--from-file={tmp_path / 's3' / 'ca.crt'}")
        fleet.spec |= {"store": store.url, "storeOptions": options, "models": {M: {"version": 1}}}
        fleet.spec["serving"]["disk"] = "1Gi"
        fleet.up()
        fleet.answers()
        rows = fleet.run("versions", M, "-o", "json").document["versions"]
        assert [(row["version"], row["signed"]) for row in rows] == [(1, [key.public]), (2, [key.public]), (3, None)]
        assert "not signed" in fleet.run("promote", M, "3", code=4).err
        with fleet.stream({M: {1}}) as requests:
            requests.now({M: {1, 2}})
            fleet.run("promote", M, "2")
            requests.now({M: {2}})
            server.kill()
            requests.now({M: {1, 2}})
            fleet.run("rollback", M)
            requests.now({M: {1}})
            server.start()
            fleet.namespace.kubectl("delete", "pod", fleet.pods("serving")[0], "--wait=true")
            fleet.namespace.wait("another pod", lambda: len(fleet.pods("serving")) == 2)
            fleet.healthy()
        requests.check()
        secret = data["AWS_SECRET_ACCESS_KEY"]
        kinds = "deployments,pods,configmaps,events"
        assert secret not in fleet.namespace.kubectl("get", kinds, "-o", "yaml")
        logs = map(partial(_log, fleet), (*fleet.pods("serving"), *fleet.pods("gateway")))
        assert not any(secret in text for text in logs)
        fleet.run("down", "--yes")


def test_replicas_of_a_node_share_what_one_has_fetched(
    request: pytest.FixtureRequest, namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is gone, and two more replicas come up on the node of the first one, none of which asks for a byte."""
    allow(namespace, "privileged")
    node_cache = Path("/var/lib") / namespace.name  # The nodes have this machine's disk.
    request.addfinalizer(lambda: shutil.rmtree(node_cache, ignore_errors=True))
    fleet = ClusterFleet(tmp_path / "fleet", namespace)
    fleet.folder.mkdir()
    data = {"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    with server_inside(namespace.cluster, tmp_path / "s3") as server:
        namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "models"}, "stringData": data})
        store = ObjectStore(server.open("shared"))
        write_example(tmp_path / "1", offset=0.5)
        store.publish(M, tmp_path / "1", 1)
        secured = f"https://{server.host}:{TLS_PORT}"
        options = {"endpoint": secured, "region": s3.REGION, "credentialsSecret": "models", "caConfigMap": "store-ca"}
        namespace.kubectl("create", "configmap", "store-ca", f"--from-file={tmp_path / 's3' / 'ca.crt'}")
        fleet.spec |= {
            "store": store.url,
            "storeOptions": {**options, "bandwidth": "50Mi"},
            "models": {M: {"version": 1}},
        }
        node = namespace.cluster.nodes[0].name
        fleet.spec["serving"] |= {
            "replicas": 1, "nodeCache": str(node_cache), "nodeSelector": {"kubernetes.io/hostname": node},
        }  # fmt: skip
        fleet.up()
        server.kill()
        fleet.spec["serving"]["replicas"] = 3
        fleet.up()
        fleet.healthy()
        assert len(fleet.pods("serving")) == 3
        fleet.run("down", "--yes")


def _log(fleet: ClusterFleet, pod: str) -> str:
    return fleet.namespace.kubectl("logs", pod, "--all-containers")

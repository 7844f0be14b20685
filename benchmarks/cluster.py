"""A fleet on the test cluster, measured as a user meets it: `python -m benchmarks.cluster` (needs root and Go)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, machine, percentile, table, told
from benchmarks.rounds import losses
from tests.cluster.cluster import Cluster
from tests.cluster.live import ClusterFleet, M
from tests.cluster.namespace import Namespace
from tests.cluster.volume import claim_of
from tfsdeploy.release import transitions
from tfsdeploy.release.configmap import ReleaseConfigMaps
from tfsdeploy.release.update import Author, change_model
from tfsdeploy.render.containers import AGENT_PORT
from tfsdeploy.targets.kubernetes.configmaps import UserConfigMaps
from tfsdeploy.targets.kubernetes.connection import Connection, Place
from tfsdeploy.targets.kubernetes.objects import Objects

REQUESTS = int(os.environ.get("TFSDEPLOY_BENCH_REQUESTS", "100000"))
REPEATS = int(os.environ.get("TFSDEPLOY_BENCH_REPEATS", "50"))
RATE = float(os.environ.get("TFSDEPLOY_BENCH_RATE", "150"))


def main() -> int:
    """Measure and print; the exit code says whether everything was reached."""
    print(machine(), flush=True)
    cluster = Cluster()
    figures = told(_start(cluster))
    with _fleet(cluster) as fleet:
        figures += told(_up(fleet))
        figures += told(_rollbacks(fleet))
        figures += told([losses(fleet, M, partial(_changes, fleet), REQUESTS, RATE)])
        figures += told(_lost_node(fleet))
    print(f"\n{machine()}\n{table(figures)}")
    return 0 if all(figure.reached for figure in figures) else 1


@contextmanager
def _fleet(cluster: Cluster) -> Iterator[ClusterFleet]:
    """Three replicas, two gateways and one model, which are not up yet."""
    namespace = Namespace(cluster, f"bench-{os.getpid()}")
    namespace.create()
    with tempfile.TemporaryDirectory(prefix="tfsdeploy-bench-") as name:
        fleet = ClusterFleet(Path(name), namespace)
        fleet.spec["models"] = {M: {}}
        fleet.spec["serving"]["replicas"] = 3
        Path(name).chmod(0o755)
        try:
            with claim_of(namespace, "models", fleet.folder / "models"):
                fleet.push(M, 1)
                yield fleet
                fleet.run("down", "--yes")
        finally:
            namespace.delete()


def _start(cluster: Cluster) -> list[Figure]:
    """How long the cluster takes to start when all is built; nothing if it runs already."""
    if cluster.is_up():
        return []
    begun = time.perf_counter()
    cluster.start(_silent)
    cluster.load_images(_silent)
    took = time.perf_counter() - begun
    return [Figure("make cluster, when all is built", "20 s", f"{took:.1f} s", took <= 20)]


def _up(fleet: ClusterFleet) -> list[Figure]:
    begun = time.perf_counter()
    fleet.up()
    fleet.answers()
    took = time.perf_counter() - begun
    server = max(_server_seconds(pod) for pod in fleet.pod_objects("serving"))
    beyond = took - server
    what = f"up, 3 replicas, 2 gateways, beyond the {server:.0f} s of the slowest model server"
    return [Figure(what, "10 s", f"{beyond:.1f} s", beyond <= 10)]


def _server_seconds(pod: dict[str, Any]) -> float:
    """From the start of a model server to its readiness, in whole seconds as Kubernetes keeps them."""
    (server,) = (row for row in pod["status"]["containerStatuses"] if row["name"] == "server")
    (ready,) = (row for row in pod["status"]["conditions"] if row["type"] == "ContainersReady")
    begun = datetime.fromisoformat(server["state"]["running"]["startedAt"])
    return (datetime.fromisoformat(ready["lastTransitionTime"]) - begun).total_seconds()


def _rollbacks(fleet: ClusterFleet) -> list[Figure]:
    fleet.push(M, 2)
    fleet.run("promote", M, "2")
    commands = []
    for turn in range(REPEATS):
        begun = time.perf_counter()
        fleet.run("rollback", M, "--to", str(1 + turn % 2))
        commands.append(time.perf_counter() - begun)
    return [
        percentile("rollback on Kubernetes, command start to its end", commands, 1.0),
        percentile("ConfigMap written -> effective at the last gateway", _switches(fleet), 0.15),
    ]


def _switches(fleet: ClusterFleet) -> list[float]:
    """Seconds from the answer of the API server to the last gateway's word, heard inside the cluster's network."""
    os.environ["KUBECONFIG"] = str(fleet.namespace.cluster.kubeconfig)
    objects = Objects(Connection(Place(namespace=fleet.namespace.name)))
    releases = ReleaseConfigMaps(UserConfigMaps(objects), fleet.spec["name"])
    urls = [f"http://{pod['status']['podIP']}:{AGENT_PORT}" for pod in fleet.pod_objects("gateway")]
    inside = ["nsenter", f"--target={fleet.namespace.cluster.machine(1).first.pid}", "--net", "--"]
    argv = [*inside, sys.executable, "-m", "benchmarks.witness", M, *urls]
    took = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as witness:
        assert witness.stdout is not None
        heard = [json.loads(witness.stdout.readline()) for _ in urls]
        (serving,) = {int(version) for one in heard for version in one["split"]}
        for turn in range(REPEATS):
            version = 1 + (serving + turn) % 2
            change_model(releases, M, partial(transitions.rollback, to=version), Author("bench", "rollback"))
            written = time.monotonic()
            heard = [json.loads(witness.stdout.readline()) for _ in urls]
            assert all(one["split"] == {str(version): 100} for one in heard), heard
            took.append(max(one["at"] for one in heard) - written)
        witness.terminate()
    fleet.run("rollback", M, "--to", "1")
    return took


def _changes(fleet: ClusterFleet, turn: int) -> list[Callable[[], object]]:
    """Rolls of both parts, deleted pods, and a node that is drained."""

    def roll(part: str, key: str, value: object) -> None:
        fleet.spec[part][key] = value
        fleet.up()

    def delete(component: str) -> None:
        fleet.namespace.kubectl("delete", "pod", fleet.pods(component)[0], "--wait=true")

    def drain() -> None:
        words = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=180s")
        selector = f"--pod-selector=app.kubernetes.io/instance={fleet.spec['name']}"
        try:
            fleet.namespace.cluster.kubectl("drain", _second(fleet), *words, selector)
        finally:
            fleet.namespace.cluster.kubectl("uncordon", _second(fleet))

    return [
        lambda: roll("serving", "flags", {"rest_api_timeout_in_ms": 20000 + turn}),
        lambda: roll("gateway", "maxRequestBytes", (32 + turn) * 2**20),
        lambda: delete("serving"),
        lambda: delete("gateway"),
        drain,
    ]


def _lost_node(fleet: ClusterFleet) -> list[Figure]:
    """A node's wire is cut; a gateway on the other node goes on."""
    cluster = fleet.namespace.cluster
    # After a drain everything may be on one node; with the node back, another shape spreads it again.
    fleet.spec["serving"]["flags"] = {"rest_api_timeout_in_ms": 30000}
    fleet.spec["gateway"]["maxRequestBytes"] = 2**20
    fleet.up()
    near = cluster.nodes[0].name
    gateway = next(pod for pod in fleet.pod_objects("gateway") if pod["spec"]["nodeName"] == near)
    address = gateway["status"]["podIP"]
    with fleet.stream({M: {1}}, RATE, address=address) as requests:
        begun = time.perf_counter()
        cluster.lose_node(2)
        try:
            fleet.namespace.wait("the gateway to notice", lambda: fleet.hears_silence(address))
            noticed = time.perf_counter() - begun
            with fleet.stream({M: {1}}, RATE, address=address) as after:
                fleet.namespace.wait("an answer", lambda: fleet.hears_silence(address))
        finally:
            cluster.find_node(2)
        fleet.healthy()
    after.check()
    requests.check(lost_at_a_replica=True)
    lost = f"{noticed:.1f} s; {requests.tally['failed']} of {requests.tally['asked']:,} failed until then, 0 after"
    return [Figure("a node lost without a reset: noticed after", "5 s", lost, noticed <= 5)]


def _second(fleet: ClusterFleet) -> str:
    return fleet.namespace.cluster.nodes[1].name


def _silent(words: str) -> None:
    """What the cluster's start tells is not part of the table."""


if __name__ == "__main__":
    sys.exit(main())

"""What a cluster does to a fleet: memory runs out, a node is lost, the API server is away, quotas, a namespace ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.kernel import exhaust, freeze, started_again, status_of
from tests.cluster.live import ClusterFleet, M
from tests.cluster.namespace import Namespace
from tests.cluster.volume import claim_of
from tests.models import write_needing, write_slow

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NEEDED = "/tmp/needed"
"""A file that one replica has and the other has not, in the pods' own temporary folders."""

OUTAGE_SECONDS = 30.0


def test_agents_and_envoys_run_out_of_memory(fleet: ClusterFleet) -> None:
    """An agent that the kernel kills loses nothing; an Envoy, at most what is in flight inside it."""
    serving, gateway = fleet.pods("serving")[0], fleet.pods("gateway")[0]
    with fleet.stream({M: {1}}) as requests:
        for pod in (serving, gateway):
            exhaust(fleet.namespace, pod, "agent")
            fleet.healthy()
    requests.check()
    with fleet.stream({M: {1}}) as requests:
        exhaust(fleet.namespace, gateway, "envoy")
        fleet.healthy()
    requests.check(lost_in_a_gateway=True)


def test_a_server_that_hangs_is_started_anew(fleet: ClusterFleet) -> None:
    """Its ports still accept, but it answers nobody: gateways leave it out at once, and Kubernetes restarts it."""
    fleet.spec["gateway"]["timeoutSeconds"] = 10
    fleet.up()
    pod = fleet.pods("serving")[0]
    restarts = status_of(fleet.namespace, pod, "server")["restartCount"]
    with fleet.stream({M: {1}}) as requests:
        freeze(fleet.namespace, pod, "server")
        fleet.namespace.wait("the hanging server to be left out", lambda: not serves(fleet, pod))
        with fleet.stream({M: {1}}) as after:
            fleet.namespace.wait(
                "its new start", lambda: started_again(status_of(fleet.namespace, pod, "server"), restarts), 120
            )
            fleet.healthy()
    after.check()
    requests.check(lost_at_a_replica=True)


def test_api_server_is_away_during_a_promote(fleet: ClusterFleet, request: pytest.FixtureRequest) -> None:
    """The promote waits for it and goes on, and so does who reads logs; who asks for answers does not notice."""
    cluster, log = fleet.namespace.cluster, fleet.folder / "followed.log"
    logs = fleet.start("logs", "--follow", "--tail", "0", log=log)
    request.addfinalizer(logs.kill)
    fleet.push(M, 4, partial(write_slow, load_seconds=8.0))
    with fleet.stream({M: {1}}) as requests:
        requests.now({M: {1, 0}})
        promote = fleet.start("promote", M, "4", "--timeout", "240", "-o", "json")
        fleet.namespace.wait("the load", lambda: "LOADING" in str(fleet.status()["replicas"]))
        cluster.kill_api_server()
        try:
            threading.Event().wait(OUTAGE_SECONDS)
        finally:
            cluster.start_api_server()
        out, err = promote.communicate(timeout=300)
        assert promote.returncode == 0, (out, err)
        requests.now({M: {0}})
        assert fleet.effective(M, {4: 100})
        requests.now({M: {1, 0}})
        fleet.run("rollback", M)
        requests.now({M: {1}})
    requests.check()
    fleet.namespace.wait("the rollback in the log", lambda: "m: {4: 100} -> {1: 100}" in log.read_text())
    logs.send_signal(signal.SIGINT)
    logs.communicate(timeout=60)


def test_version_fails_on_one_replica_only(fleet: ClusterFleet) -> None:
    """Traffic stays, the version leaves the replica that could load it, and the report names the other one."""
    good, bad = fleet.pods("serving")
    fleet.push(M, 5, partial(write_needing, file=NEEDED))
    fleet.namespace.kubectl("exec", good, "-c", "server", "--", "python3", "-c", f"open({NEEDED!r}, 'w')")
    with fleet.stream({M: {1}}) as requests:
        failed = fleet.run("promote", M, "5", "-o", "json", code=4).document["error"]["message"]
        fleet.namespace.wait("its end on every replica", lambda: not holders(fleet, 5))
    requests.check()
    assert bad in failed
    assert NEEDED in failed
    assert good not in failed
    assert fleet.effective(M, {1: 100})


def test_node_is_lost_without_a_reset(fleet: ClusterFleet) -> None:
    """Its wire is cut: only requests that were at its replica when the gateway noticed may fail."""
    fleet.spread("serving")
    fleet.spread("gateway")
    near = fleet.namespace.cluster.nodes[0].name
    (gateway,) = (pod for pod in fleet.pod_objects("gateway") if pod["spec"]["nodeName"] == near)
    address = gateway["status"]["podIP"]
    assert {pod["spec"]["nodeName"] for pod in fleet.pod_objects("serving")} > {near}
    with fleet.stream({M: {1}}, address=address) as before, cut(fleet):
        fleet.namespace.wait("the gateway to notice", lambda: fleet.hears_silence(address))
        with fleet.stream({M: {1}}, address=address) as after:
            # Who is only slow to answer, on a busy machine, does when asked again.
            fleet.namespace.wait(
                "two that do not answer", lambda: fleet.run("status", code=1).out.count("does not answer") == 2
            )
    fleet.healthy()
    after.check()
    before.check(lost_at_a_replica=True)
    print(f"{before.tally['failed']} of {before.tally['asked']} failed, sent before the gateway noticed")


def test_quota_is_exceeded(fleet: ClusterFleet) -> None:
    """`up` says which quota; what serves, serves on; with more room the same command goes through."""
    hard = {"pods": "4"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}}
    fleet.namespace.apply(quota)

    def is_full() -> bool:
        return bool(fleet.namespace.get("resourcequota")[0]["status"].get("used") == hard)

    # Kubernetes counts only when it has every list again that it lost with the API server, some tests before.
    fleet.namespace.wait("a full quota", is_full)
    with fleet.stream({M: {1}}) as requests:
        fleet.spec["serving"]["replicas"] = 3
        refused = fleet.run("up", "--timeout", "20", "-o", "json", code=1).document["error"]["message"]
        assert "exceeded quota: small" in refused
        fleet.namespace.kubectl("delete", "resourcequota", "small")
        fleet.up()
        fleet.spec["serving"]["replicas"] = 2
        fleet.up()
    requests.check()


def test_namespace_is_being_deleted(namespace: Namespace, tmp_path: Path) -> None:
    """Pods leave in time, nothing holds the namespace, and `up` says why it cannot go there."""
    fleet = ClusterFleet(tmp_path, namespace)
    fleet.spec["models"] = {M: {}}
    fleet.spec["serving"]["replicas"] = fleet.spec["gateway"]["replicas"] = 1
    with claim_of(namespace, "models", tmp_path / "models"):
        fleet.push(M, 1)
        fleet.up()
        namespace.cluster.kubectl("delete", "namespace", namespace.name, "--wait=false")
        refused = fleet.run("up", "-o", "json", code=1).document["error"]["message"]
        assert "terminat" in refused
        namespace.cluster.kubectl("wait", f"namespace/{namespace.name}", "--for=delete", "--timeout=150s")
    assert "shop is not up" in fleet.run("status", code=2).err


def holders(fleet: ClusterFleet, version: int) -> list[str]:
    """The replicas that say anything of a version, or are not ready."""
    rows = fleet.status()["replicas"]
    return [row["name"] for row in rows if not row["ready"] or str(version) in row["models"].get(M, {})]


def serves(fleet: ClusterFleet, pod: str) -> bool:
    """Whether a replica answers, and says that it is ready."""
    return any(row["ready"] for row in fleet.status()["replicas"] if row["name"] == pod)


@contextmanager
def cut(fleet: ClusterFleet) -> Iterator[None]:
    """The second node's wire is down while the block runs: no packet, and no reset, comes from there."""
    fleet.namespace.cluster.lose_node(2)
    try:
        yield
    finally:
        fleet.namespace.cluster.find_node(2)

"""A fleet on the cluster, end to end by the real command, under a stream of requests that counts every failure."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.cluster.live import ClusterFleet, M
from tfsdeploy.fleet.grammar import GATEWAY_IMAGE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NOT_FOUND = 127
"""How a shell ends that cannot find a program."""


def test_promote_and_rollback_drop_nothing(fleet: ClusterFleet) -> None:
    """A version takes over and is taken back, through the API server's own clock of events."""
    with fleet.stream({M: {1}}) as requests:
        requests.now({M: {1, 2}})
        promoted = fleet.run("promote", M, "2", "-o", "json").document
        assert (promoted["from"], promoted["to"]) == (1, 2)
        requests.now({M: {2}})
        assert fleet.effective(M, {2: 100})
        requests.now({M: {1, 2}})
        fleet.run("rollback", M)
        requests.now({M: {1}})
        assert fleet.effective(M, {1: 100})
    requests.check()


def test_a_canary_and_its_steps_drop_nothing(fleet: ClusterFleet) -> None:
    """A part of the traffic that stays, the rest in steps, and all of it back; the history tells every move."""
    with fleet.stream({M: {1}}) as requests:
        requests.now({M: {1, 2}})
        fleet.run("promote", M, "2", "--weight", "20", "--yes")
        assert fleet.effective(M, {1: 80, 2: 20})
        fleet.run("promote", M, "2", "--steps", "50,100")
        requests.now({M: {2}})
        assert fleet.effective(M, {2: 100})
        requests.now({M: {1, 2}})
        fleet.run("rollback", M, "--why", "bad scores")
        requests.now({M: {1}})
        assert fleet.effective(M, {1: 100})
    requests.check()
    rows = fleet.run("history", "--model", M, "-o", "json").document["history"]
    moves = [(row["command"], line) for row in rows for line in row["models"][M] if line.startswith("traffic")]
    assert moves[:4] == [
        (f"rollback {M}", "traffic 2:100 → 1:100"),
        (f"promote {M} 2 --steps 50,100", "traffic 1:50 2:50 → 2:100"),
        (f"promote {M} 2 --steps 50,100", "traffic 1:80 2:20 → 1:50 2:50"),
        (f"promote {M} 2 --steps 20", "traffic 1:100 → 1:80 2:20"),
    ]
    assert rows[0]["why"] == "bad scores"


def test_a_lost_release_is_put_back(fleet: ClusterFleet) -> None:
    """Spoiled or deleted by hand: agents go on, commands work with what they remember, and `up` puts it back."""
    kubectl = fleet.namespace.kubectl
    before = fleet.status()["generation"]
    with fleet.stream({M: {1}}) as requests:
        requests.now({M: {1, 2}})
        fleet.run("promote", M, "2", "--yes")
        kubectl("patch", "configmap", "shop-release", "--type=merge", "-p", '{"data": {"release.json": "{"}}')
        assert "is nonsense" in fleet.run("status", code=1).out
        requests.now({M: {1, 2}})
        assert fleet.run("rollback", M, "-o", "json").document["to"] == 1
        requests.now({M: {1}})
        kubectl("delete", "configmap", "shop-release")
        assert "shop-release is gone" in fleet.run("status", code=1).out
        assert fleet.status()["generation"] > before
        fleet.up()
        fleet.healthy()
        assert fleet.effective(M, {1: 100})
        assert "put back" in fleet.run("history").out
    requests.check()


def test_pods_are_deleted(fleet: ClusterFleet) -> None:
    """A replica's pod and a gateway's leave without a failed request, and others come."""
    with fleet.stream({M: {1}}) as requests:
        for component in ("serving", "gateway"):
            leaving = fleet.pods(component)[0]
            fleet.namespace.kubectl("delete", "pod", leaving, "--wait=true")
            fleet.namespace.wait("another pod", lambda component=component: len(fleet.pods(component)) == 2)
            fleet.healthy()
    requests.check()


def test_shape_changes_roll(fleet: ClusterFleet) -> None:
    """Changed flags of servers and gateways replace every pod, and no request notices."""
    before = {*fleet.pods("serving"), *fleet.pods("gateway")}
    with fleet.stream({M: {1}}) as requests:
        fleet.spec["serving"]["flags"] = {"rest_api_timeout_in_ms": 20000}
        fleet.spec["gateway"]["maxRequestBytes"] = 32 * 1024 * 1024
        shown = fleet.run("diff", code=3).out
        assert "--rest_api_timeout_in_ms=20000" in shown
        fleet.up()
    requests.check()
    assert before.isdisjoint({*fleet.pods("serving"), *fleet.pods("gateway")})
    assert fleet.run("diff").out.startswith("fleet shop is as")


def test_scale_up_and_down(fleet: ClusterFleet) -> None:
    """2 -> 6 -> 3 -> 2 replicas, and no request notices."""
    with fleet.stream({M: {1}}) as requests:
        for count in (6, 3, 2):
            fleet.spec["serving"]["replicas"] = count
            fleet.up()
            assert len(fleet.pods("serving")) == count
    requests.check()


def test_image_that_does_not_exist(fleet: ClusterFleet) -> None:
    """`up` gives up with the reason, and what serves, serves on."""
    good = fleet.spec["serving"]["image"]
    with fleet.stream({M: {1}}) as requests:
        fleet.spec["serving"]["image"] = "nobody/nothing:1"
        failed = fleet.run("up", "--timeout", "60", "-o", "json", code=1).document["error"]["message"]
        assert "nobody/nothing:1" in failed
        fleet.spec["serving"]["image"] = good
        fleet.up()
    requests.check()


def test_a_local_cluster_is_given_the_image_that_its_nodes_lack(
    fleet: ClusterFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a context of kind's name, and by programs that write down how they are called; what is there is not loaded."""
    said, programs = tmp_path / "said", tmp_path / "programs"
    programs.mkdir()
    for name in ("docker", "kind"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {said}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    config = json.loads(fleet.namespace.cluster.kubeconfig.read_text())
    config["current-context"] = config["contexts"][0]["name"] = "kind-desk"
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setattr(fleet, "kubeconfig", tmp_path / "config")
    good = fleet.spec["serving"]["image"]
    fleet.spec["serving"]["image"] = "nobody/nothing:1"
    assert "loaded nobody/nothing:1 into kind cluster desk" in fleet.run("up", "--timeout", "5", code=1).err
    fleet.spec["serving"]["image"] = good
    fleet.up()
    assert said.read_text().splitlines() == [
        "docker image inspect --format {{.Id}} nobody/nothing:1",
        "kind load docker-image nobody/nothing:1 --name desk",
    ]


def test_servers_that_end_and_pods_without_room(fleet: ClusterFleet) -> None:
    """`up` gives up with the server's last words, and with what the scheduler lacks; what serves, serves on."""
    good = fleet.spec["serving"]["image"]

    def ended() -> bool:
        rows = [row for pod in fleet.pod_objects("serving") for row in pod["status"].get("containerStatuses", ())]
        ends = [row[state].get("terminated", {}) for row in rows for state in ("state", "lastState")]
        return any(end.get("exitCode") == NOT_FOUND for end in ends)

    with fleet.stream({M: {1}}) as requests:
        # An image that has no model server.
        fleet.spec["serving"]["image"] = GATEWAY_IMAGE
        fleet.spec["gateway"]["resources"] = {"memory": "900Gi"}
        fleet.run("up", "--timeout", "5", code=1)
        fleet.namespace.wait("the end of a server", ended)
        failed = fleet.run("up", "--timeout", "5", "-o", "json", code=1).document["error"]["message"]
        assert "Insufficient memory" in failed
        assert re.search(r"server said: .*tensorflow_model_server: not found", failed), failed
        fleet.spec["serving"]["image"] = good
        del fleet.spec["gateway"]["resources"]
        fleet.up()
    requests.check()


def test_drained_node(fleet: ClusterFleet) -> None:
    """`kubectl drain` moves everything to the other node without a failed request."""
    node = fleet.namespace.cluster.nodes[1].name
    kubectl = fleet.namespace.cluster.kubectl
    try:
        with fleet.stream({M: {1}}) as requests:
            drained = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=180s")
            kubectl(*drained, f"--pod-selector=app.kubernetes.io/instance={fleet.spec['name']}")
            fleet.healthy()
        requests.check()
    finally:
        kubectl("uncordon", node)


def test_foreign_objects_are_not_taken_over(fleet: ClusterFleet) -> None:
    """What somebody else has made under one of our names stays as it is; so does what only looks like ours."""
    labels = {f"app.kubernetes.io/{key}": word for key, word in (("instance", "shop"), ("component", "gateway"))}
    fleet.namespace.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other-serving"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-notes", "labels": labels}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"tfsdeploy/fleet": "shop-2"}}},
    )
    fleet.up()
    assert {"shop-notes", "a"} <= {item["metadata"]["name"] for item in fleet.namespace.get("configmaps")}
    other = ClusterFleet(fleet.folder / "other", fleet.namespace)
    other.folder.mkdir()
    other.spec |= {"name": "other", "models": {M: {}}}
    refused = other.run("up", "-o", "json", code=1).document["error"]["message"]
    assert "serviceaccount/other-serving" in refused
    assert other.namespace.get("deployments", "-l", "tfsdeploy/fleet=other") == []


def test_argo_cd_s_signature_is_no_difference(fleet: ClusterFleet) -> None:
    """It writes its application's name over a label; what `up` would change is told all the same, and nothing else."""
    deployments = [f"shop-{component}" for component in ("serving", "gateway")]

    def sign(application: str) -> None:
        for name in deployments:
            metadata = {"name": name, "labels": {"app.kubernetes.io/instance": application}}
            signed = json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
            words = ("apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-")
            fleet.namespace.cluster.kubectl("-n", fleet.namespace.name, *words, text=signed)

    sign("shop-in-production")
    assert fleet.run("diff").out.startswith("fleet shop is as")
    assert fleet.run("status", "-o", "json").document["healthy"]
    told = fleet.run("up", "-o", "json", code=1).document["error"]
    assert 'conflict with "argocd-controller": .metadata.labels.app.kubernetes.io/instance' in told["message"]
    # The way out that is told, word for word.
    (command,) = re.findall(r"tfsdeploy render .*", told["hint"])
    fleet.shell(command)
    fleet.up()


def test_two_operators_change_the_shape(fleet: ClusterFleet) -> None:
    """One is at it, the other is told who."""
    fleet.spec["serving"]["flags"] = {"rest_api_timeout_in_ms": 25000}
    first = fleet.start("up", "--timeout", "180")
    fleet.namespace.wait(
        "the lease", lambda: fleet.namespace.get("leases", "--field-selector=metadata.name=shop-shape")
    )
    refused = fleet.run("up", "-o", "json", code=5).document["error"]
    assert str(first.pid) in refused["message"]
    out, err = first.communicate(timeout=200)
    assert first.returncode == 0, (out, err)


def test_pins_are_folded_once(fleet: ClusterFleet) -> None:
    """A pinned version that is rolled back stays back until the file changes, whatever is applied again."""
    with fleet.stream({M: {1}}) as requests:
        requests.now({M: {1, 3}})
        fleet.spec["models"] = {M: {"version": 3}}
        fleet.up()
        fleet.namespace.wait("the pinned version", lambda: fleet.effective(M, {3: 100}))
        fleet.run("rollback", M, "--no-write")
        requests.now({M: {1}})
        fleet.up()
        assert fleet.effective(M, {1: 100})
        shown = json.loads(fleet.run("diff", "-o", "json", code=3).out)
        assert any("pins version 3" in line for line in shown["stays"])
    requests.check()


def test_bench_runs_beside_the_gateways(fleet: ClusterFleet) -> None:
    """As a Job that tells what it measured, and leaves nothing behind, interrupted or not."""

    def jobs() -> list[object]:
        return [*fleet.namespace.get("jobs", "-l", "app.kubernetes.io/component=bench")]

    document = fleet.run("bench", M, "--rate", "50", "--duration", "3s", "-o", "json").document
    assert (document["asked"], document["sent"], document["failed"]) == (150, 150, 0)
    assert document["p50_ms"] > 0
    shown = fleet.run("bench", M, "--rate", "20", "--duration", "1s").out
    assert "20 of 20" in shown
    assert "█" in shown
    assert jobs() == []
    long = fleet.start("bench", M, "--rate", "20", "--duration", "10m")
    fleet.namespace.wait("its job", jobs)
    long.send_signal(signal.SIGINT)
    out, err = long.communicate(timeout=60)
    assert long.returncode == 130, (out, err)
    assert jobs() == []

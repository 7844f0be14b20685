"""A fleet that Helm installs, upgrades, rolls back and uninstalls, under the stream; and the commands beside Helm."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.chart.helm import CHART, helm
from tests.cluster.live import ClusterFleet, M
from tests.cluster.namespace import Namespace
from tests.cluster.volume import claim_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


class Chart:
    """The chart's release ``web`` of a fleet; the values are the fleet file."""

    def __init__(self, fleet: ClusterFleet) -> None:
        self._fleet = fleet

    def helm(self, command: str, *words: str) -> str:
        """What Helm prints; it waits until everything is as wanted, the pins too."""
        space = self._fleet.namespace
        reach = (f"--kubeconfig={space.cluster.kubeconfig}", "--namespace", space.name, "--timeout", "180s")
        argv = [helm(), command, "web", *words, *reach]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=self._fleet.folder)
        assert done.returncode == 0, f"{command}: {done.stderr}\n{done.stdout}\n{space.told()}"
        return done.stdout

    def apply(self, command: str) -> str:
        """Install or upgrade to what the fleet's specification says."""
        (self._fleet.folder / "fleet.yaml").write_text(yaml.safe_dump(self._fleet.spec, sort_keys=False))
        return self.helm(command, str(CHART), "-f", "fleet.yaml", "--wait", "--wait-for-jobs")


def test_a_fleet_lives_under_helm(namespace: Namespace, tmp_path: Path) -> None:
    """Pins move through the barrier whichever way Helm changes them, and what an operator takes back stays so."""
    fleet = ClusterFleet(tmp_path, namespace)
    chart = Chart(fleet)
    for version in (1, 2):
        fleet.push(M, version)
    with claim_of(namespace, "models", tmp_path / "models"):
        fleet.spec["models"] = {M: {"version": 1}}
        notes = chart.apply("install")
        assert f"http://shop-gateway.{namespace.name}:8501" in notes
        assert fleet.effective(M, {1: 100})
        fleet.answers()
        _first_request(fleet, notes)
        chart.helm("test")
        _commands_know_whose_it_is(fleet)
        with fleet.stream({M: {1}}) as requests:
            requests.now({M: {1, 2}})
            fleet.spec["models"] = {M: {"version": 2}}
            chart.apply("upgrade")
            requests.now({M: {2}})
            assert fleet.effective(M, {2: 100})
            requests.now({M: {1, 2}})
            chart.helm("rollback", "1", "--wait", "--wait-for-jobs")
            requests.now({M: {1}})
            assert fleet.effective(M, {1: 100})
            requests.now({M: {1, 2}})
            chart.apply("upgrade")
            fleet.run("rollback", M, "--no-write", "--why", "errors at 3 a.m.")
            requests.now({M: {1}})
            fleet.spec["serving"]["replicas"] = 3
            chart.apply("upgrade")
            assert len(fleet.pods("serving")) == 3
            fleet.healthy()
            assert fleet.effective(M, {1: 100})
        requests.check()
        chart.helm("test")
        _ends(fleet, chart, notes)


def _first_request(fleet: ClusterFleet, notes: str) -> None:
    """The notes' own line at a node, which is told the address of the name: only Pods ask the cluster's DNS."""
    (line,) = re.findall(r"^ *(curl .*)$", notes, re.M)
    url = urlsplit(line.split()[-1])
    told = ("--resolve", f"{url.hostname}:{url.port}:{fleet.address()}", "--silent", "--fail", "--max-time", "5")
    answer = json.loads(fleet.namespace.cluster.machine(1).run(*line.split(), *told))
    assert [(row["version"], row["state"]) for row in answer["model_version_status"]] == [("1", "AVAILABLE")]


def _commands_know_whose_it_is(fleet: ClusterFleet) -> None:
    owner = f"Helm release web of namespace {fleet.namespace.name}"
    assert f"owned by {owner}" in fleet.run("status").out
    assert fleet.run("diff", "-o", "json").document["changes"] == []
    fleet.spec["serving"]["replicas"] = 3
    shown = fleet.run("diff", "-o", "json", code=3).document
    assert (shown["owner"], len(shown["changes"])) == (owner, 1)
    for words, way_out in ((("up",), "helm upgrade web"), (("down", "--yes"), "helm uninstall web")):
        error = fleet.run(*words, "-o", "json", code=2).document["error"]
        assert owner in error["message"]
        assert way_out in error["hint"]
    fleet.spec["serving"]["replicas"] = 2
    assert fleet.run("diff").out.startswith("fleet shop is as")


def _ends(fleet: ClusterFleet, chart: Chart, notes: str) -> None:
    """Uninstalled, only the release document and its history are left, of which the notes tell, until `down`."""
    space = fleet.namespace

    def left() -> set[str]:
        kinds = "all,configmaps,secrets,leases,serviceaccounts,roles,rolebindings,networkpolicies,pdb,pvc"
        names = space.kubectl("get", kinds, "-o", "name").split()
        return {name for name in names if "shop" in name or "web" in name}

    chart.helm("uninstall", "--wait")
    # What a Deployment has made goes after it.
    space.wait("the end of all but two", lambda: left() == {"configmap/shop-release", "configmap/shop-history"})
    (command,) = re.findall(r"kubectl delete configmap .*", notes)
    assert command.endswith(f"-n {space.name} shop-release shop-history")
    fleet.run("down", "--yes")
    assert left() == set()

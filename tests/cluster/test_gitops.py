"""A fleet that only Git changes: rendered files in a repository, applied by a loop as Argo CD or Flux would."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.health import BAD, GOOD, ON_THE_WAY, Verdict, health, judged
from tests.cluster.live import ClusterFleet
from tests.cluster.namespace import Namespace
from tests.cluster.volume import claim_of
from tests.models import write_broken
from tfsdeploy.processes import who

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

M, FREE = "m", "free"
APPLY_SECONDS = 2.0

BROKEN = 9
"""A version of the model that can be published and not loaded."""


class Repository:
    """A Git repository with a fleet file and what is rendered from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls, folder: Path) -> Repository:
        """A new one."""
        made = cls(folder)
        made.git("init", "--quiet", "--initial-branch=main")
        return made

    def clone(self) -> Repository:
        """Another one that follows it, as a controller in the cluster has it."""
        self.git("clone", "--quiet", ".", "clone")
        return Repository(self.folder / "clone")

    def git(self, *words: str) -> str:
        """What git prints."""
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {words}: {done.stderr}"
        return done.stdout

    def commit(self, why: str) -> None:
        """Commit the fleet file and the rendered files."""
        self.git("add", "fleet.yaml", "deploy")
        self.git("commit", "--quiet", "-m", why)


@dataclass
class Rounds:
    """How often the loop has applied what stands in the repository."""

    count: int = 0


def rendered_job(folder: Path) -> str:
    """The name of the Job that waits for the pins that were rendered last."""
    return str(yaml.safe_load((folder / "deploy" / "pins-job.yaml").read_text())["metadata"]["name"])


def verdicts(namespace: Namespace, folder: Path) -> dict[str, Verdict]:
    """What Flux and Argo CD say of all that is rendered, as far as it is there."""
    words = ("get", "-k", str(folder / "deploy"), "--ignore-not-found", "-o", "json")
    return judged(json.loads(namespace.kubectl(*words) or '{"kind": "List", "apiVersion": "v1", "items": []}'))


@contextmanager
def applied(namespace: Namespace, repository: Repository) -> Iterator[Rounds]:
    """Apply what is committed every few seconds while the block runs, and prune what is not there any more."""
    ended, rounds, clone = threading.Event(), Rounds(), repository.clone()

    def loop() -> None:
        while not ended.wait(APPLY_SECONDS):
            clone.git("pull", "--quiet", "--ff-only")
            namespace.cluster.kubectl("apply", "--server-side", "-k", str(clone.folder / "deploy"), check=False)
            for job in namespace.get("jobs", "-l", "tfsdeploy/fleet"):
                if job["metadata"]["name"] != rendered_job(clone.folder):
                    namespace.kubectl("delete", "job", job["metadata"]["name"], "--ignore-not-found")
            rounds.count += 1

    with ThreadPoolExecutor(1) as pool:
        looping = pool.submit(loop)
        try:
            yield rounds
        finally:
            ended.set()
        looping.result()


def permissions(namespace: Namespace) -> dict[str, set[tuple[str, str, str]]]:
    """Account -> what its Role permits: verb, resource, name."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for role in namespace.get("roles"):
        found[role["metadata"]["name"]] = {
            (verb, resource, name)
            for rule in role["rules"]
            for verb in rule["verbs"]
            for resource in rule["resources"]
            for name in rule.get("resourceNames", ("",))
        }
    return found


def used(namespace: Namespace) -> dict[str, set[tuple[str, str, str]]]:
    """Account -> what it has asked the API server for, from the server's own audit log."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for line in (namespace.cluster.folder / "audit.log").read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        place, _, account = event["user"]["username"].removeprefix("system:serviceaccount:").partition(":")
        what = event.get("objectRef", {})
        if place == namespace.name:
            # A Role cannot limit by name what is created, nor what is listed by label.
            unnamed = event["verb"] == "create" or what["resource"] == "endpointslices"
            name = "" if unnamed else what.get("name", "")
            found.setdefault(account, set()).add((event["verb"], what["resource"], name))
    return found


def test_git_alone_changes_the_fleet(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits promote and reverts roll back through the barrier; what an operator takes back stays so."""
    health()  # Built before anything is on its way.
    for part in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{part}_NAME", "ann")
        monkeypatch.setenv(f"GIT_{part}_EMAIL", "ann@example.org")
    namespace = Namespace(cluster, f"gitops-{os.getpid()}")
    namespace.create()
    try:
        fleet = ClusterFleet(tmp_path, namespace)
        for version in (1, 2, 3):
            fleet.push(M, version)
        fleet.push(M, BROKEN, write_broken)
        fleet.push(FREE, 7)
        with claim_of(namespace, "models", tmp_path / "models"):
            _story(fleet, namespace)
    finally:
        namespace.delete()


def test_a_fleet_without_pins_begins_with_its_first_promote(namespace: Namespace, tmp_path: Path) -> None:
    """Nobody but `promote` gives it a release, without which no replica can be asked what the store holds."""
    fleet = ClusterFleet(tmp_path, namespace)
    fleet.spec["serving"]["replicas"] = fleet.spec["gateway"]["replicas"] = 1
    fleet.spec["models"] = {FREE: {}}
    fleet.push(FREE, 7)
    with claim_of(namespace, "models", tmp_path / "models"):
        fleet.run("render", "-o", "deploy")
        namespace.kubectl("apply", "--server-side", "-k", str(tmp_path / "deploy"))
        assert fleet.status()["waiting"] == [FREE]
        fleet.run("promote", FREE, "7", "--timeout", "280")
        assert fleet.effective(FREE, {7: 100})
        fleet.run("down", "--yes")


def _ended(fleet: ClusterFleet, namespace: Namespace) -> dict[str, Verdict]:
    """The verdicts on everything, once all is applied and nothing is on its way any more; empty until then."""
    found = verdicts(namespace, fleet.folder)
    complete = f"Job/{rendered_job(fleet.folder)}" in found and ON_THE_WAY not in found.values()
    return found if complete else {}


def _healthy_in_the_end(fleet: ClusterFleet, namespace: Namespace, changing: set[str]) -> None:
    """All that is rendered becomes healthy; these objects are seen on their way there, and none is ever called bad."""
    seen: defaultdict[str, set[Verdict]] = defaultdict(set)

    def is_healthy() -> bool:
        found = verdicts(namespace, fleet.folder)
        for name, verdict in found.items():
            seen[name].add(verdict)
        return changing <= found.keys() and all(verdict in GOOD for verdict in found.values())

    namespace.wait("health", is_healthy, 180)
    assert {name for name, said in seen.items() if ON_THE_WAY in said} == changing
    assert set().union(*seen.values()) <= {*GOOD, ON_THE_WAY}


def _story(fleet: ClusterFleet, namespace: Namespace) -> None:
    repository = Repository.begin(fleet.folder)

    def pinned(version: int) -> None:
        fleet.spec["models"] = {M: {"version": version}, FREE: {}}
        fleet.run("render", "-o", "deploy")
        repository.commit(f"Serve version {version}")

    def committed(version: int, why: str, *words: str) -> None:
        told = fleet.run(*words, "--git", "deploy", "--why", why).out
        commit = repository.git("rev-parse", "--short", "HEAD").strip()
        assert told == f"{M}: commit {commit} on main is to be pushed: git push origin main\n"
        assert repository.git("log", "-1", "--format=%s%n%b").strip() == f"{' '.join(words)}\n{why}\n\nBy {who()}."
        assert repository.git("status", "--porcelain", "--", "fleet.yaml", "deploy") == ""
        fleet.spec["models"][M] = {"version": version}

    def done() -> bool:
        jobs = namespace.get("jobs", f"--field-selector=metadata.name={rendered_job(fleet.folder)}")
        return any(job.get("status", {}).get("succeeded") for job in jobs)

    def serves(version: int) -> None:
        namespace.wait(f"version {version}", lambda: fleet.effective(M, {version: 100}), 240)

    def job() -> str:
        return f"Job/{rendered_job(fleet.folder)}"

    pinned(1)
    with applied(namespace, repository) as rounds:
        _healthy_in_the_end(fleet, namespace, {job(), "Deployment/shop-serving", "Deployment/shop-gateway"})
        assert done()
        serves(1)
        # A version that no replica can load: the Job says so, and what serves is as well as before.
        pinned(BROKEN)
        failed = namespace.wait("the Job's end", lambda: _ended(fleet, namespace), 120)
        assert failed.pop(job()) == BAD
        assert not {name: verdict for name, verdict in failed.items() if verdict not in GOOD}
        pinned(1)
        namespace.wait("the Job of the pins that are back", done, 60)
        serves(1)
        # A model that Git does not decide about waits for somebody who does.
        assert fleet.status()["waiting"] == [FREE]
        fleet.run("promote", FREE, "7")
        assert fleet.effective(FREE, {7: 100})
        assert fleet.status()["waiting"] == []
        with fleet.stream({M: {1, 2}}) as requests:
            committed(2, "better scores", "promote", M, "2")
            serves(2)
            namespace.wait("the Job of the new pins", done)
            requests.now({M: {2}})
            requests.now({M: {1, 2}})
            repository.git("revert", "--no-edit", "HEAD")
            serves(1)
            namespace.wait("the Job of the pins that are back", done)
            requests.now({M: {1, 3}})
            pinned(3)
            serves(3)
            committed(1, "bad scores", "rollback", M)
            serves(1)
            pinned(3)
            serves(3)
            fleet.run("rollback", M, "--why", "errors at 3 a.m.")
            assert "version: 1" in (fleet.folder / "fleet.yaml").read_text()
            requests.now({M: {1}})
            # Several rounds of the loop, each of which applies what Git still says.
            enough = rounds.count + 3
            namespace.wait("the same commit again", lambda: rounds.count >= enough)
            assert fleet.effective(M, {1: 100})
            assert fleet.run("diff", code=3).out
            (stays,) = fleet.status()["stays"]
            assert stays.startswith(f"model {M}: pinned is version 3, and traffic 1:100 is live; it stays so")
        requests.check()
    # What another tool has applied can be taken over by the command, as long as both say the same.
    fleet.up()
    assert fleet.effective(M, {1: 100})
    rendered, asked = permissions(namespace), used(namespace)
    assert asked == rendered

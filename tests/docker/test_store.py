"""Stores that containers do not see as a folder of the host: a bucket, with its credentials, and a volume."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests import s3
from tests.docker.engine import ADDRESS, Engine
from tests.docker.live import DockerFleet
from tests.s3_outage import MortalS3, mortal_s3
from tests.scenarios.live import eventually
from tfsdeploy.store.handed import CREDENTIALS

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

M = "m"


@pytest.fixture
def fleet(engine: Engine, tmp_path: Path) -> Iterator[DockerFleet]:
    """Two replicas and one gateway, not up yet."""
    made = DockerFleet(tmp_path, engine, name="stored")
    made.spec["gateway"] |= {"replicas": 1, "rest": 8601, "grpc": 8600}
    made.spec["models"] = {M: {}}
    yield made
    made.run("down", "--yes")
    assert made.containers() == []
    assert engine.docker("volume", "ls", "-q", f"--filter=label=tfsdeploy.fleet={made.name}") == ""


@pytest.fixture
def server(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MortalS3]:
    """An S3 server on the engine's host, with its credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
    with mortal_s3(tmp_path / "s3", ADDRESS) as made:
        yield made


def test_models_come_from_a_bucket(
    fleet: DockerFleet, server: MortalS3, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Push, promote, roll back; credentials are renewed in place, and are nowhere but where they are needed."""
    fleet.spec |= {"store": "s3://models/prod", "storeOptions": {"endpoint": server.endpoint, "region": s3.REGION}}
    for version in (1, 2, 3):
        fleet.push_to_store(M, version)
        if version == 1:
            fleet.up()
    fleet.run("promote", M, "2")
    assert fleet.effective(M, {2: 100})
    fleet.run("rollback", M)
    assert fleet.effective(M, {1: 100})
    _nothing_leaks(fleet, engine)
    before = [engine.docker("inspect", "--format={{.Id}}", name) for name in fleet.containers()]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.READER_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.READER_SECRET)
    assert "credentials of the store are handed over" in fleet.up().err
    assert _handed(fleet, engine)["AWS_ACCESS_KEY_ID"] == s3.READER_KEY
    assert before == [engine.docker("inspect", "--format={{.Id}}", name) for name in fleet.containers()]
    # Whoever has no credentials of the store still commands the fleet, and leaves it those it has.
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fleet.up()
    fleet.run("promote", M, "3")
    assert fleet.effective(M, {3: 100})


def test_the_bucket_is_away(fleet: DockerFleet, server: MortalS3) -> None:
    """What was fetched serves on and comes back without it, whatever is started again."""
    fleet.spec |= {"store": "s3://models/prod", "storeOptions": {"endpoint": server.endpoint, "region": s3.REGION}}
    fleet.push_to_store(M, 1)
    fleet.up()
    server.kill()
    for part in ("server", "agent"):
        victim = fleet.containers("kind=replica", f"part={part}")[0]
        before = fleet.restarts(victim)
        fleet.kill(victim)
        eventually(partial(_restarted, fleet, victim, before), "a restart")
        fleet.healthy()
    fleet.spec["serving"]["replicas"] = 3
    fleet.up()
    assert fleet.run("predict", M, "--example").code == 0


def test_models_are_in_a_volume(fleet: DockerFleet, engine: Engine) -> None:
    """A volume that somebody else makes and keeps."""
    fleet.spec["store"] = "pvc://tfsdeploy-test-models/prod"
    error = fleet.run("up", "-o", "json", code=1).document["error"]
    assert error["message"] == "the engine has no volume tfsdeploy-test-models"
    engine.docker("volume", "create", "tfsdeploy-test-models")
    try:
        folder = Path(engine.docker("volume", "inspect", "--format={{.Mountpoint}}", "tfsdeploy-test-models").strip())
        for version in (1, 2):
            fleet.push(M, version)
        subprocess.run(["cp", "-a", str(fleet.folder / "models"), str(folder / "prod")], check=True)
        fleet.up()
        assert fleet.effective(M, {2: 100})
        fleet.run("promote", M, "1")
        assert fleet.effective(M, {1: 100})
        assert [row["version"] for row in fleet.run("versions", M, "-o", "json").document["versions"]] == [1, 2]
        fleet.run("down", "--yes")
        assert (folder / "prod" / M / "1").is_dir()
    finally:
        fleet.run("down", "--yes")
        engine.docker("volume", "rm", "tfsdeploy-test-models")


def _restarted(fleet: DockerFleet, container: str, before: int) -> bool:
    return fleet.restarts(container) > before


def _handed(fleet: DockerFleet, engine: Engine) -> dict[str, str]:
    """What a replica agent finds."""
    agent = fleet.containers("kind=replica", "part=agent")[0]
    found: dict[str, str] = json.loads(engine.docker("exec", agent, "cat", f"/run/secrets/tfsdeploy/{CREDENTIALS}"))
    return found


def _nothing_leaks(fleet: DockerFleet, engine: Engine) -> None:
    """The secret is in the agents' own volume: in no process list, inspection, log or rendered file."""
    assert _handed(fleet, engine)["AWS_SECRET_ACCESS_KEY"] == s3.SECRET
    assert s3.SECRET not in engine.docker("inspect", *fleet.containers())
    for process in psutil.process_iter(["cmdline"]):
        assert s3.SECRET not in " ".join(process.info["cmdline"] or ())
    for name in fleet.containers():
        assert s3.SECRET not in engine.docker("logs", name)
        if name.endswith(("-server", "-envoy")):
            assert engine.docker("exec", name, "/bin/sh", "-c", "ls /run/secrets 2>/dev/null; true") == ""
    fleet.run("render", "-o", "deploy")
    for file in fleet.folder.joinpath("deploy").rglob("*"):
        assert not file.is_file() or s3.SECRET not in file.read_text()
    assert s3.SECRET not in fleet.run("history", "-o", "json").out + fleet.run("status", "-o", "json").out

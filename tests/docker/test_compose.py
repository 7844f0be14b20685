"""What is rendered for Compose is the fleet that `up` makes, container by container, and commands work on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.product import SERVER_IMAGE
from tests.docker.compose import compose
from tests.docker.engine import Engine
from tests.docker.live import DockerFleet
from tests.render.docker.goldens import NAMES, ROOT
from tests.scenarios.live import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

M = "m"

HOST = ("CapDrop", "CpuShares", "Init", "LogConfig", "Memory", "MemorySwap", "NanoCpus", "PortBindings",
        "ReadonlyRootfs", "RestartPolicy", "SecurityOpt", "Tmpfs", "Privileged", "PidMode", "IpcMode")  # fmt: skip
CONFIG = ("Cmd", "Entrypoint", "Healthcheck", "Image", "StopTimeout", "User", "WorkingDir")


@pytest.fixture
def fleet(engine: Engine, tmp_path: Any) -> Iterator[DockerFleet]:
    """One replica, one gateway, and everything that a file can say of them."""
    made = DockerFleet(tmp_path, engine, name="composed")
    made.spec["serving"] = {
        "replicas": 1, "image": SERVER_IMAGE, "drainSeconds": 0, "resources": {"cpu": 2, "memory": "2Gi"},
        "batching": {"maxBatchSize": 4}, "flags": {"rest_api_timeout_in_ms": 20000},
    }  # fmt: skip
    made.spec["gateway"] |= {"replicas": 1, "rest": 8701, "grpc": 8700}
    made.spec["models"] = {M: {"version": 1}}
    made.push(M, 1)
    made.push(M, 2)
    yield made
    made.run("down", "--yes")
    assert made.containers() == []


def facts(fleet: DockerFleet) -> dict[str, dict[str, Any]]:
    """What the engine knows of a fleet's containers, as far as it was asked for."""
    found = {}
    for row in json.loads(fleet.engine.docker("inspect", *fleet.containers())):
        mounts = [(m["Type"], m.get("Name") or m["Source"], m["Destination"], m["RW"]) for m in row["Mounts"]]
        found[row["Name"].lstrip("/")] = {
            # What was not asked for is false, empty or missing, as the client has it.
            **{key: row["HostConfig"].get(key) or None for key in HOST},
            **{key: row["Config"].get(key) or None for key in CONFIG},
            "labels": {key: value for key, value in row["Config"]["Labels"].items() if key.startswith("tfsdeploy.")},
            "Env": sorted(row["Config"]["Env"]),
            "mounts": sorted(mounts),
        }
    return found


def unwell(fleet: DockerFleet) -> list[str]:
    """The containers whose health check has not succeeded; the keeper has none."""
    rows = json.loads(fleet.engine.docker("inspect", *fleet.containers()))
    return [row["Name"] for row in rows if row["State"].get("Health", {}).get("Status", "healthy") != "healthy"]


def answer(fleet: DockerFleet) -> object:
    """What the fleet answers to one request."""
    return fleet.run("predict", M, '{"instances": [1.0, 2.0, 5.0]}', "-o", "json").document["answer"]


def test_compose_makes_the_same_containers(fleet: DockerFleet) -> None:
    fleet.up()
    eventually(lambda: unwell(fleet) == [], "healthy containers", 180)
    by_up, answered = facts(fleet), answer(fleet)
    assert answered == {"predictions": [1.0, 1.5, 3.0]}
    fleet.run("down", "--yes")
    fleet.run("render", "-o", "deploy")
    folder = fleet.folder / "deploy"
    try:
        subprocess.run([compose(), "up", "--detach", "--quiet-pull"], cwd=folder, check=True, capture_output=True)
        # A fleet whose pins nobody has folded yet has nothing to serve, and is well.
        eventually(lambda: fleet.effective(M, {1: 100}), "the pinned version")
        fleet.healthy()
        by_compose = facts(fleet)
        # What hands over settings and pins is the one difference.
        keeper = "composed-keeper"
        given = by_compose[keeper]["mounts"].pop(0)
        assert given == ("bind", str(folder / "given"), "/etc/tfsdeploy", False)
        assert by_compose[keeper]["Cmd"].pop() == "--given=/etc/tfsdeploy"
        assert by_compose[keeper]["labels"].pop("tfsdeploy.given").startswith("sha256:")
        assert by_compose == by_up
        assert answer(fleet) == answered
        assert fleet.run("diff").out.startswith("fleet composed is as")
        fleet.run("promote", M, "2")
        assert fleet.effective(M, {2: 100})
        assert answer(fleet) == {"predictions": [2.0, 2.5, 4.0]}
        fleet.run("rollback", M)
        assert fleet.effective(M, {1: 100})
        assert answer(fleet) == answered
        # What was rendered once is handed over once: the keeper's restart takes nothing back.
        fleet.engine.docker("restart", keeper)
        assert fleet.run("status", "-o", "json").document["models"][M]["traffic"] == {"1": 100}
        # Another pin is handed over by what Compose makes anew, which is the keeper alone.
        others = {name: fleet.engine.docker("inspect", "--format={{.Id}}", name) for name in by_up if name != keeper}
        fleet.push(M, 3)
        fleet.spec["models"] = {M: {"version": 3}}
        fleet.run("render", "-o", "deploy")
        subprocess.run([compose(), "up", "--detach", "--quiet-pull"], cwd=folder, check=True, capture_output=True)
        eventually(lambda: fleet.effective(M, {3: 100}), "the other pinned version")
        assert others == {name: fleet.engine.docker("inspect", "--format={{.Id}}", name) for name in others}
    finally:
        subprocess.run([compose(), "down", "--volumes"], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("engine")
def test_compose_takes_what_is_rendered(name: str) -> None:
    argv = [compose(), "config", "--quiet"]
    done = subprocess.run(argv, cwd=ROOT / name / "rendered", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

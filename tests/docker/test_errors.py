"""What goes wrong on an engine is said in one clear line, and what is somebody else's stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.engine import Engine
from tests.docker.live import DockerFleet

pytestmark = pytest.mark.docker


@pytest.fixture
def fleet(engine: Engine, tmp_path: Path) -> Iterator[DockerFleet]:
    """A fleet that is not up yet."""
    made = DockerFleet(tmp_path, engine, name="wrong")
    made.spec["serving"]["replicas"] = 1
    made.spec["gateway"] |= {"replicas": 1, "rest": 8801, "grpc": 8800}
    made.spec["models"] = {"m": {}}
    made.push("m", 1)
    yield made
    made.run("down", "--yes", "--fleet", made.name, "-t", "docker")
    assert made.containers() == []


def refused(fleet: DockerFleet) -> dict[str, Any]:
    """The error of an `up`."""
    error: dict[str, Any] = fleet.run("up", "--timeout", "30", "-o", "json", code=1).document["error"]
    assert "\n" not in error["message"]
    return error


def test_no_engine(fleet: DockerFleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        error = refused(fleet)
    assert error["message"] == "the Docker engine does not answer: No such file or directory"
    assert error["where"] == f"unix://{tmp_path}/nobody.sock"


def test_missing_image(fleet: DockerFleet) -> None:
    fleet.spec["serving"]["image"] = "nobody/nothing:1"
    assert "the image nobody/nothing:1 is not there and cannot be pulled" in refused(fleet)["message"]
    # Nothing came of it.
    assert fleet.containers() == []
    assert fleet.engine.docker("volume", "ls", "-q", "--filter=label=tfsdeploy.fleet=wrong") == ""


def test_busy_port(fleet: DockerFleet) -> None:
    image = fleet.engine.docker("images", "--format={{.Repository}}:{{.Tag}}", "envoyproxy/envoy").split()[0]
    words = ("run", "--detach", "--publish=10.213.0.1:8801:80", "--entrypoint=/bin/sleep", image, "600")
    other = fleet.engine.docker(*words).strip()
    try:
        assert refused(fleet)["message"] == "the port 10.213.0.1:8801 is in use"
    finally:
        fleet.engine.docker("rm", "-f", other)
    fleet.up()


def test_containers_of_others_are_never_touched(fleet: DockerFleet) -> None:
    image = fleet.engine.docker("images", "--format={{.Repository}}:{{.Tag}}", "envoyproxy/envoy").split()[0]
    name = "wrong-serving-1-server"
    fleet.engine.docker("run", "--detach", f"--name={name}", "--entrypoint=/bin/sleep", image, "600")
    try:
        error = refused(fleet)
        assert (error["message"], error["where"]) == ("a container of this name is there already", name)
        fleet.run("down", "--yes")
        assert fleet.engine.docker("inspect", "--format={{.State.Running}}", name).strip() == "true"
    finally:
        fleet.engine.docker("rm", "-f", name)


def test_full_disk(fleet: DockerFleet) -> None:
    options = ("--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=4k,uid=65532")
    fleet.engine.docker("volume", "create", "--label=tfsdeploy.fleet=wrong", *options, "wrong-state")
    error = refused(fleet)
    assert error["message"] == "the fleet's state cannot be written: No space left on device"
    assert "docker system df" in error["hint"]


def test_store_that_the_engine_does_not_see(fleet: DockerFleet) -> None:
    (fleet.folder / "models").rename(fleet.folder / "elsewhere")
    assert "store" in refused(fleet)["message"]


def test_ports_have_to_be_chosen(fleet: DockerFleet) -> None:
    fleet.spec["gateway"]["rest"] = 0
    said = fleet.run("up", "-o", "json", code=2).document["error"]["message"]
    assert "which only the local target can choose" in said

"""An engine that is not on this machine: nothing is reached but the engine itself and the published ports."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docker.engine import Engine
from tests.docker.live import DockerFleet
from tests.docker.ways import Sshd, make_certificates
from tests.scenarios.live import eventually

pytestmark = pytest.mark.docker

M = "m"


@pytest.fixture
def tcp(engine: Engine) -> Iterator[dict[str, str]]:
    """`DOCKER_HOST` over TCP, which is for commands another machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening, engine.socket), daemon=True).start()
        yield {"DOCKER_HOST": f"tcp://127.0.0.1:{listening.getsockname()[1]}"}
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tls(engine: Engine, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The engine's own TLS, which asks for a certificate."""
    folder = tmp_path / "tls"
    folder.mkdir()
    make_certificates(folder)
    server = [f"--tls{name}={folder}/{file}.pem" for name, file in (("cert", "server"), ("key", "server-key"))]
    engine.kill_daemon()
    engine.start_daemon("--host=tcp://127.0.0.1:2376", "--tlsverify", f"--tlscacert={folder}/ca.pem", *server)
    try:
        yield {
            "DOCKER_HOST": "tcp://127.0.0.1:2376",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(folder),
        }
    finally:
        engine.kill_daemon()
        engine.start_daemon()


@pytest.fixture
def ssh(engine: Engine, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A login on the engine's machine: a real sshd, and an `ssh` that knows its key."""
    with Sshd(tmp_path / "ssh", engine) as sshd:
        yield {"DOCKER_HOST": f"ssh://root@127.0.0.1:{sshd.port}", "PATH": f"{sshd.programs}:{os.environ['PATH']}"}


@pytest.mark.parametrize("way", ["tcp", "tls", "ssh"])
def test_everything_through_the_engine(
    way: str, request: pytest.FixtureRequest, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: dict[str, str] = request.getfixturevalue(way)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fleet = DockerFleet(tmp_path, engine, name="remote")
    fleet.spec["serving"]["replicas"] = 1
    fleet.spec["gateway"] |= {"replicas": 1, "rest": 8901, "grpc": 8900}
    fleet.spec["models"] = {M: {}}
    fleet.push(M, 1)
    try:
        fleet.up()
        fleet.push(M, 2)
        assert fleet.run("versions", M, "-o", "json").document["versions"][-1]["version"] == 2
        fleet.run("promote", M, "2")
        eventually(lambda: fleet.effective(M, {2: 100}), "traffic on 2")
        fleet.run("rollback", M)
        eventually(lambda: fleet.effective(M, {1: 100}), "traffic on 1")
        assert environment["DOCKER_HOST"] in fleet.run("doctor").out
        fleet.healthy()
        assert "remote-serving-1-agent: " in fleet.run("logs").out
    finally:
        fleet.run("down", "--yes")
    assert fleet.containers() == []


@pytest.mark.parametrize(
    ("host", "words"),
    [("ssh://root@127.0.0.1:1", "Connection refused"), ("ssh://root@127.0.0.1:x", "DOCKER_HOST makes no sense")],
)
def test_no_way(host: str, words: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    fleet = DockerFleet(tmp_path, engine, name="remote")
    fleet.spec["models"] = {M: {}}
    error = fleet.run("status", "-o", "json", code=1).document["error"]
    assert words in error["message"]
    assert error["where"] == host


def serve(listening: socket.socket, there: Path) -> None:
    """Carry connections to a UNIX socket."""
    with suppress(OSError):
        while True:
            here, _ = listening.accept()
            other = socket.socket(socket.AF_UNIX)
            other.connect(str(there))
            threading.Thread(target=carry, args=(here, other), daemon=True).start()


def carry(here: socket.socket, other: socket.socket) -> None:
    """One connection, both ways, until it has ended."""
    with here, other:
        back = threading.Thread(target=copy, args=(other, here), daemon=True)
        back.start()
        copy(here, other)
        back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    """One way of a connection."""
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)

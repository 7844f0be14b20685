"""An engine that is not on this machine: nothing is reached but the engine itself and the published ports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docker.engine import Engine
from tests.docker.live import DockerFleet

pytestmark = pytest.mark.docker

M = "m"


@pytest.fixture
def remote(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`DOCKER_HOST` over TCP, which is for commands another machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening, engine.socket), daemon=True).start()
        host = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", host)
        yield host
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def test_everything_through_the_engine(remote: str, engine: Engine, tmp_path: Path) -> None:
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
        assert fleet.effective(M, {2: 100})
        fleet.run("rollback", M)
        assert fleet.effective(M, {1: 100})
        assert remote in fleet.run("doctor").out
        assert fleet.status()["healthy"]
    finally:
        fleet.run("down", "--yes")
    assert fleet.containers() == []


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

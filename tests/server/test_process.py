"""The process: how it starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import grpc
import pytest

from tests.server.live import Live, wait
from tfsdeploy import __version__
from tfsdeploy.protocol import wire
from tfsdeploy.server import listening
from tfsdeploy.store.example import write_example

LIMIT_SECONDS = 60.0


@contextmanager
def taken_port() -> Iterator[int]:
    """A port of loopback on which somebody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """The flag for a configuration without models."""
    (tmp_path / "models.config").write_text("model_config_list {}")
    return f"--model_config_file={tmp_path / 'models.config'}"


def ends(server: Live) -> int:
    """Wait until it has ended: its exit code, below 0 for a signal. Whatever it was, it was said in words."""
    code = server.process.wait(LIMIT_SECONDS)
    assert "Traceback" not in server.said()
    return code


def says(server: Live, words: str) -> None:
    """Wait until it says something."""
    wait(words, lambda: words in server.said())


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("port", "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"),
        ("rest_api_port", "Failed to start server. Error: UNAVAILABLE: Failed to start HTTP Server at 127.0.0.1:"),
    ],
)
def test_a_port_that_is_taken_ends_it_with_255_and_words(flag: str, words: str, empty: str, tmp_path: Path) -> None:
    with taken_port() as port, Live(tmp_path / "log", f"--{flag}={port}", empty) as server:
        assert ends(server) == 255
        assert words in server.said()


def test_without_an_address_rest_is_there_for_ipv4_and_ipv6_and_grpc_for_ipv4(empty: str, tmp_path: Path) -> None:
    with Live(tmp_path / "log", "--address=", empty) as server:
        says(server, "Exporting HTTP/REST API")
        answers = {
            (host, port): answers_at(host, port)
            for port in (server.rest_port, server.grpc_port)
            for host in ("127.0.0.1", "::1")
        }
    ipv6 = socket.has_dualstack_ipv6()
    assert list(answers.values()) == [True, ipv6, True, False]


def answers_at(host: str, port: int) -> bool:
    """Whether somebody takes a connection there."""
    try:
        socket.create_connection((host, port), timeout=LIMIT_SECONDS).close()
    except OSError:
        return False
    return True


def test_where_there_is_no_ipv6_rest_is_there_for_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listening.everywhere(0) as found:
        assert found.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it_well(number: signal.Signals, empty: str, tmp_path: Path) -> None:
    with Live(tmp_path / "log", empty) as server:
        says(server, "Exporting HTTP/REST API")
        server.process.send_signal(number)
        assert ends(server) == 0
        assert "Draining" in server.said()


def test_a_signal_ends_it_while_a_load_hangs(tmp_path: Path) -> None:
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    os.mkfifo(version / "saved_model.pb")  # whoever reads it waits for ever
    with Live(tmp_path / "log", f"--model_base_path={tmp_path / 'm'}", "--model_name=m") as server:
        says(server, "Loading servable")
        server.process.terminate()
        assert ends(server) == 0


def test_a_request_that_is_half_there_is_answered_before_it_ends(empty: str, tmp_path: Path) -> None:
    with Live(tmp_path / "log", empty) as server:
        says(server, "Exporting HTTP/REST API")
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as client:
            client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 100")
            server.process.terminate()
            # It closes its port, and lets its connections know, before it reads on.
            wait("it drains", lambda: not server.listens())
            for byte in (b"{", b" ", b"}"):
                client.sendall(byte)
                wait("it is read", lambda: not waiting(client))
            assert b"Connection: close" in client.recv(1000)
            assert client.recv(1000) == b""
        assert ends(server) == 0


def waiting(client: socket.socket) -> int:
    """How many bytes of a client's the server's system has not taken."""
    raw = fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(raw, sys.byteorder)


def test_like_the_original_an_idle_one_is_ended_by_the_signal_itself(empty: str, tmp_path: Path) -> None:
    with Live(tmp_path / "log", "--like-tfs", empty) as server:
        says(server, "Exporting HTTP/REST API")
        server.process.terminate()
        assert ends(server) == -signal.SIGTERM


def test_it_tells_its_versions(tmp_path: Path) -> None:
    with Live(tmp_path / "log", "--version") as server:
        assert ends(server) == 0
    library = metadata.version("tensorflow")
    assert server.said() == f"TensorFlow ModelServer: 2.20.0+tfsdeploy.{__version__}\nTensorFlow Library: {library}\n"


def test_a_method_that_is_not_there_says_so(empty: str, tmp_path: Path) -> None:
    with Live(tmp_path / "log", empty) as server, grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        says(server, "Running gRPC ModelServer")
        call = channel.unary_unary("/tensorflow.serving.PredictionService/NoSuchMethod")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=LIMIT_SECONDS)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        with pytest.raises(grpc.RpcError) as raised:
            health(b"\x0a\x01x", timeout=LIMIT_SECONDS)
        assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, "service name unknown")


def test_calls_from_the_first_moment_on_do_it_no_harm(tmp_path: Path) -> None:
    """TensorFlow takes seconds to import; whoever asks meanwhile waits, or is told that there is no such model yet."""
    write_example(tmp_path / "m" / "1", offset=2.0)
    request = wire.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(wire.tensor([1.0]))
    seen: set[str] = set()

    def ask(server: Live) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 20)]
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=options) as channel:
            call = channel.unary_unary(wire.PREDICT)
            while "OK" not in seen:
                try:
                    call(request.SerializeToString(), timeout=120)
                    seen.add("OK")
                except grpc.RpcError as error:
                    seen.add(error.code().name)

    flags = ("--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--open_early")
    with Live(tmp_path / "log", *flags) as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, [server] * 8))
    assert seen <= {"OK", "UNAVAILABLE", "NOT_FOUND"}

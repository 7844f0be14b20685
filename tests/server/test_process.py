"""The process: how it starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

LIMIT_SECONDS = 60.0

EMPTY = "model_config_list {\n}\n"


class Started:
    """A server process and its output."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def said(self) -> str:
        """Its output up to now, both streams."""
        return self._output.read_text(errors="replace")

    def says(self, words: str) -> None:
        """Wait until it says something."""
        end = time.monotonic() + LIMIT_SECONDS
        while words not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def ends(self) -> int:
        """Wait until it has ended: its exit code, below 0 for a signal."""
        return self.process.wait(LIMIT_SECONDS)


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[Started]:
    """A server process, gone afterwards."""
    output = folder / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tfsdeploy.server.main", *flags],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        yield Started(process, output)
    finally:
        process.kill()
        process.wait()


@contextmanager
def taken_port() -> Iterator[int]:
    """A port of loopback on which somebody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ports() -> list[str]:
    """Flags for ports of its own."""
    return ["--address=127.0.0.1", f"--port={free_port()}", f"--rest_api_port={free_port()}"]


FAILURES = {
    "nothing to serve": (
        [],
        "Failed to start server. Error: INVALID_ARGUMENT: Both server_options.model_base_path and "
        "server_options.model_config_file are empty!",
    ),
    "no port": (
        ["--port=0", "--model_base_path=/m"],
        "Failed to start server. Error: INVALID_ARGUMENT: At least one of server_options.grpc_port or "
        "server_options.grpc_socket_path must be set.",
    ),
    "relative path": (
        ["--model_base_path=m"],
        "Failed to start server. Error: INVALID_ARGUMENT: Expected model default to have an absolute path or URI; got "
        "base_path()=m",
    ),
    "no such file": (
        ["--model_config_file=missing"],
        "Failed to start server. Error: NOT_FOUND: missing; No such file or directory",
    ),
    "wrong file": (
        ["--model_config_file=wrong"],
        "Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: 'wrong'",
    ),
    "labels before versions": (
        ["--model_config_file=labels"],
        "Failed to start server. Error: FAILED_PRECONDITION: Request to assign label to version 1 of model m, which is "
        "not currently available for inference",
    ),
    "wrong value": (["--port=http"], "Couldn't interpret value http for flag port."),
    "help": (["--help"], "usage: tfsdeploy-model-server"),
}


@pytest.mark.parametrize("mode", ["own", "like-tfs"])
def test_what_it_cannot_start_with_ends_it_with_255_and_words(mode: str, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("model_config_list {")
    (tmp_path / "labels").write_text(
        'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" '
        'version_labels { key: "stable" value: 1 } } }'
    )
    found = {}
    for name, (flags, _) in FAILURES.items():
        (tmp_path / name).mkdir()
        for file in ("wrong", "labels"):
            os.link(tmp_path / file, tmp_path / name / file)
        own = ["--address=127.0.0.1", f"--port={free_port()}", *(["--like-tfs"] if mode == "like-tfs" else [])]
        with started(tmp_path / name, *own, *flags) as server:
            found[name] = (server.ends(), server.said)
    for name, (_, words) in FAILURES.items():
        code, said = found[name]
        assert (code, words in said, "Traceback" in said) == (255, True, False), f"{name}: {said}"


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("port", "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"),
        ("rest_api_port", "Failed to start server. Error: UNAVAILABLE: Failed to start HTTP Server at 127.0.0.1:"),
    ],
)
def test_a_port_that_is_taken_ends_it_with_255_and_words(flag: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(EMPTY)
    with taken_port() as port, started(
        tmp_path, *ports(), f"--{flag}={port}", "--model_config_file=models.config"
    ) as server:  # fmt: skip
        assert server.ends() == 255
        assert words in server.said
        assert "Traceback" not in server.said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_well(number: signal.Signals, code: int, tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(EMPTY)
    with started(tmp_path, *ports(), "--model_config_file=models.config") as server:
        server.says("Exporting HTTP/REST API")
        server.process.send_signal(number)
        assert server.ends() == code
        assert "Draining" in server.said
        assert "Traceback" not in server.said


def test_like_the_original_a_signal_just_kills_it(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(EMPTY)
    with started(tmp_path, *ports(), "--like-tfs", "--model_config_file=models.config") as server:
        server.says("Exporting HTTP/REST API")
        server.process.terminate()
        assert server.ends() == -signal.SIGTERM


def test_like_the_original_ports_stay_closed_until_every_model_has_a_version(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path}/m" model_platform: "tensorflow" }} }}'
    )
    flags = ports()
    with started(tmp_path, *flags, "--like-tfs", "--model_config_file=models.config") as server:
        server.says("Could not find base path")
        for flag in flags[1:]:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(flag.partition("=")[2]))) != 0
        assert server.process.poll() is None


def test_like_the_original_a_version_that_cannot_load_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    flags = [*ports(), "--like-tfs", "--model_name=m", f"--model_base_path={tmp_path}/m", "--max_num_load_retries=0"]
    with started(tmp_path, *flags) as server:
        assert server.ends() == 255
        words = (
            "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1} "
        )
        assert words in server.said
        assert "Traceback" not in server.said


def test_unknown_arguments_are_told_and_it_starts_anyway(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(EMPTY)
    flags = [*ports(), "--no_such=1", "-x", "stray", "--model_config_file=models.config"]
    with started(tmp_path, *flags) as server:
        server.says("Exporting HTTP/REST API")
        for word in ("--no_such=1", "-x", "stray"):
            assert f"unknown argument: {word}" in server.said


def test_methods_that_are_not_there_say_so(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(EMPTY)
    flags = ports()
    with started(tmp_path, *flags, "--model_config_file=models.config") as server:
        server.says("Running gRPC ModelServer")
        with grpc.insecure_channel(f"127.0.0.1:{flags[1].partition('=')[2]}") as channel:
            for method in ("Classify", "Regress", "MultiInference", "NoSuchMethod"):
                call = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
                with pytest.raises(grpc.RpcError) as raised:
                    call(b"", timeout=LIMIT_SECONDS, wait_for_ready=True)
                assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
            health = channel.unary_unary("/grpc.health.v1.Health/Check")
            assert health(b"", timeout=LIMIT_SECONDS) == b"\x08\x01"
            with pytest.raises(grpc.RpcError) as raised:
                health(b"\x0a\x01x", timeout=LIMIT_SECONDS)
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND

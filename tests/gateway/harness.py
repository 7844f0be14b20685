"""A real Envoy, real small back ends, and clients of both protocols."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from tests.ports import free_ports
from tfsdeploy.gateway.admin import acknowledged
from tfsdeploy.gateway.files import PAUSE_SECONDS, File, clusters_file, routes_files
from tfsdeploy.gateway.shape import GatewayShape, envoy_command, shape_files
from tfsdeploy.gateway.table import Endpoint, Table, union

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"


def wait(what: str, check: Callable[[], Any], limit: float = 60.0) -> Any:
    """Waits until ``check`` gives something true."""
    end = time.monotonic() + limit
    while True:
        with suppress(OSError, http.client.HTTPException):
            if found := check():
                return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.01)


@dataclass
class Stub:
    """A running back end."""

    endpoint: Endpoint
    process: subprocess.Popen[str]


@contextmanager
def stub(name: str) -> Iterator[Stub]:
    """A back end for the time of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.stub", name], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield Stub(Endpoint(name, f"127.0.0.1:{ports['rest']}", f"127.0.0.1:{ports['grpc']}"), process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("admin", timeout=30)
        self._path = os.path.relpath(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


@dataclass
class Gateway:
    """A running Envoy with the product's configuration."""

    shape: GatewayShape
    folder: Path
    process: subprocess.Popen[bytes]
    table: Table = field(default_factory=Table)

    def admin(self, path: str, method: str = "GET") -> str:
        """Asks Envoy's administration."""
        connection = _UnixConnection(self.folder / self.shape.admin_socket)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def put(self, *files: File) -> None:
        """Writes files and waits until Envoy uses them."""
        for file in files:
            file.write(self.folder)
        wait("Envoy's acknowledgement", lambda: acknowledged(self.admin("/stats?filter=version_text"), files))

    def apply(self, table: Table) -> None:
        """Moves Envoy to a table in the order that loses nothing."""
        self.put(clusters_file(union(self.table, table), self.shape))
        self.put(*routes_files(table, self.shape))
        time.sleep(PAUSE_SECONDS)
        self.put(clusters_file(table, self.shape))
        self.table = table

    def log(self) -> list[dict[str, Any]]:
        """The access log so far, parsed."""
        text = (self.folder / "stdout").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def rest(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """One REST request: status and JSON (None without a body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.shape.rest_port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()

    @contextmanager
    def channel(self, **options: Any) -> Iterator[grpc.Channel]:
        """A connection of its own."""
        base = {"grpc.use_local_subchannel_pool": 1, "grpc.enable_retries": 0, "grpc.max_send_message_length": -1}
        chosen = list({**base, **options}.items())
        with grpc.insecure_channel(f"127.0.0.1:{self.shape.grpc_port}", options=chosen) as channel:
            yield channel

    def rpc(self, method: str, body: bytes, timeout: float = 60, **metadata: str) -> tuple[str, Any]:
        """One gRPC request: ("OK", JSON) or (code, details)."""
        with self.channel() as channel:
            return call(channel, method, body, timeout, **metadata)


def call(channel: grpc.Channel, method: str, body: bytes, timeout: float = 60, **metadata: str) -> tuple[str, Any]:
    """One gRPC request on a connection."""
    headers = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    try:
        answer = channel.unary_unary(method)(body, timeout=timeout, metadata=headers)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", json.loads(answer) if answer[:1] == b"{" else answer


@contextmanager
def gateway(
    folder: Path, table: Table, shape: GatewayShape | None = None, instead: Mapping[str, str] | None = None
) -> Iterator[Gateway]:
    """An Envoy for the time of the block; ``instead`` replaces files of the product: name -> text."""
    if shape is None:
        rest_port, grpc_port = free_ports(2)
        shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (clusters_file(table, shape), *routes_files(table, shape)):
        file.write(folder)
    files = {**shape_files(shape), **(instead or {})}
    for name, text in files.items():
        (folder / name).write_text(text)
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            envoy_command(shape),
            cwd=folder, stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip
    running = Gateway(shape, folder, process, table)

    def ready() -> bool:
        if process.poll() is not None:
            raise AssertionError((folder / "stderr").read_text())
        answered = running.admin("/ready").strip() == "LIVE"
        return answered and "listener_manager.workers_started: 1" in running.admin("/stats?filter=workers_started")

    try:
        wait("Envoy is ready", ready)
        yield running
    finally:
        process.kill()
        process.wait()

"""A real model server process, and what a client says to it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.ports import free_ports

LIMIT = 120.0


def wait(what: str, done: Callable[[], bool], seconds: float = LIMIT) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Live:
    """A model server.

    Args:
        log: where its output goes.
        flags: its flags, but for ports and address.
    """

    def __init__(self, log: Path, *flags: str) -> None:
        self.log = log
        self.grpc_port, self.rest_port = free_ports(2)
        ports = [f"--port={self.grpc_port}", f"--rest_api_port={self.rest_port}", "--address=127.0.0.1"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tfsdeploy.server.main", *ports,
                 "--tensorflow_session_parallelism=1", *flags],
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """Its output up to now."""
        return self.log.read_text(errors="replace")

    def listens(self) -> bool:
        """Whether the REST port is open."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.rest_port)) == 0

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        """One request on a connection of its own: code, content type, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read()
        finally:
            connection.close()

    def states(self, model: str) -> dict[int, tuple[str, str]]:
        """Version -> state and error of a model; nothing while nobody answers."""
        if not self.listens():
            return {}
        code, _, body = self.ask("GET", f"/v1/models/{model}")
        rows = json.loads(body)["model_version_status"] if code == 200 else []
        return {int(row["version"]): (row["state"], row["status"]["error_message"]) for row in rows}

    def available(self, model: str) -> set[int]:
        """The versions of a model that can be asked."""
        return {version for version, (state, _) in self.states(model).items() if state == "AVAILABLE"}

    def resident(self) -> int:
        """Bytes of memory that it has."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def computing(self) -> Callable[[], bool]:
        """Whether it has computed for a fifth of a second since now: it answers a slow request."""
        process = psutil.Process(self.process.pid)
        before = process.cpu_times().user
        return lambda: process.cpu_times().user > before + 0.2

    def serves(self, model: str, *versions: int) -> None:
        """Wait until these versions, and no others, are AVAILABLE."""
        wait(f"{model} {versions} in\n{self.said()}", lambda: self.available(model) == set(versions))

    def predict(self, path: str, value: Any) -> Any:
        """The answer to one instance."""
        code, _, body = self.ask("POST", f"/v1/models/{path}:predict", json.dumps({"instances": [value]}).encode())
        assert code == 200, body
        return json.loads(body)["predictions"][0]


def config(folder: Path, **policies: str) -> str:
    """A configuration: model -> policy (and labels), each in the folder of its name."""
    return "model_config_list {\n" + "".join(
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" {policy} }}\n'
        for name, policy in policies.items()
    ) + "}\n"  # fmt: skip


def specific(*versions: int) -> str:
    """The policy that asks for these versions."""
    return "model_version_policy { specific { " + " ".join(f"versions: {v}" for v in versions) + " } }"


def write(file: Path, text: str) -> None:
    """Replace a file at once, as agents do."""
    staged = file.with_suffix(".new")
    staged.write_text(text)
    staged.replace(file)

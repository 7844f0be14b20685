"""One real replica agent beside one real model server: as a supervisor would run them, with hands to break both."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.gateway.harness import wait
from tests.ports import free_ports
from tfsdeploy.protocol.agents import ReplicaStatus, State, VersionStatus, decode_replica, etag
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Change, ModelRelease, Release, Rollout
from tfsdeploy.store.store import FileStore

FLEET = "shop"
REPLICA = "shop-serving-1"
LIMIT = 120.0


@dataclass
class Unit:
    """What a test works with.

    Attributes:
        home: holds store, release and the agent's folder.
        samples: ready-made SavedModels.
        mode: flags that the model server gets beside its usual ones.
        bucket: URL and options of the object store that the versions come from; None: ``store`` is read in place.
    """

    home: Path
    samples: Path
    mode: tuple[str, ...] = ()
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    agent: subprocess.Popen[bytes] | None = None
    server: subprocess.Popen[bytes] | None = None
    bucket: tuple[str, Mapping[str, object]] | None = None

    @property
    def store(self) -> FileStore:
        """Where the models are, on this machine."""
        return FileStore(self.home / "models")

    @property
    def folder(self) -> Path:
        """The agent's own."""
        return self.home / "agent"

    @property
    def listen(self) -> str:
        """The agent's status server."""
        return f"127.0.0.1:{self.ports[0]}"

    def push(self, version: int, sample: str, model: str = "m") -> str:
        """Publish a version; returns its digest."""
        return self.store.publish(model, self.samples / sample, version)[0].digest

    def release(self, rollout: Rollout | None = None, **models: Mapping[int, str | None] | None) -> Release:
        """Write the next generation: which versions to hold, with digests; None removes a model."""
        folder = ReleaseFolder(self.home)
        before = folder.read()
        change = Change("ann@desk", "", "", "test")
        held = {
            name: None if versions is None else ModelRelease(versions, {}, rollout=rollout)
            for name, versions in models.items()
        }
        new = (before or Release(FLEET, "one", 0, change)).next(held, change)
        folder.swap(new, before)
        return new

    def start_agent(self) -> None:
        """Start the agent; it may be started again after it ended."""
        flags = {
            "name": REPLICA, "fleet": FLEET, "release": self.home / "release.json", "store": self.store.url,
            "folder": self.folder, "server-rest": f"127.0.0.1:{self.ports[1]}", "listen": self.listen,
            "server-grpc": f"127.0.0.1:{self.ports[2]}", "drain-seconds": 0.2, "lease-seconds": 20,
        }  # fmt: skip
        if self.bucket is not None:
            url, options = self.bucket
            flags |= {"store": url, "store-options": json.dumps(options), "models": self.store.root}
        words = [f"--{name}={value}" for name, value in flags.items()]
        self.agent = self._start("agent", [sys.executable, "-P", "-m", "tfsdeploy", "agent", "replica", *words])

    def start_server(self) -> None:
        """Start the model server as a supervisor would: when it is written down what it is to hold."""
        config = self.folder / "models.config"
        wait("models.config", config.exists, LIMIT)
        flags = [
            f"--port={self.ports[2]}", f"--rest_api_port={self.ports[1]}", f"--model_config_file={config}",
            "--model_config_file_poll_wait_seconds=1", "--file_system_poll_wait_seconds=1",
            "--max_num_load_retries=0", "--num_load_threads=2", "--address=127.0.0.1", *self.mode,
        ]  # fmt: skip
        self.server = self._start("server", [sys.executable, "-P", "-m", "tfsdeploy.server.main", *flags])

    def start(self) -> None:
        """Start both."""
        self.start_agent()
        self.start_server()

    def kill_server(self) -> None:
        """SIGKILL the model server."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def kill_agent(self) -> None:
        """SIGKILL the agent."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def leave(self) -> None:
        """Ask the replica to leave."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)

    def ended(self) -> bool:
        """Whether the agent has ended."""
        return self.agent is not None and self.agent.poll() is not None

    def ask(self, path: str, timeout: float = 30) -> tuple[int, bytes]:
        """The status server's answer; raises OSError if there is none."""
        connection = HTTPConnection(self.listen, timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def poll(self, gateway: str, applied: str = "") -> str:
        """A gateway's poll; returns the etag of the document that it got."""
        return etag(self.ask(f"/v1/status?gateway={gateway}&applied={applied}")[1])

    def acknowledge(self, gateway: str) -> None:
        """A gateway's poll that says that it has applied what is so now."""
        self.poll(gateway, etag(self.ask("/v1/status")[1]))

    def status(self) -> ReplicaStatus | None:
        """What the agent says; None if it does not answer."""
        try:
            return decode_replica(self.ask("/v1/status")[1])
        except (OSError, HTTPException):
            return None

    def row(self, version: int, model: str = "m") -> VersionStatus | None:
        """What the agent says of one version."""
        status = self.status()
        return None if status is None else status.state(model, version)

    def until(self, version: int, state: State | None, model: str = "m") -> VersionStatus | None:
        """Wait until a version is in a state; None: until nothing is said of it."""

        def there() -> bool:
            row = self.row(version, model)
            return (row.state if row else None) is state

        self.wait(f"{model}/{version} {state}", there)
        return self.row(version, model)

    def wait(self, what: str, check: Callable[[], Any]) -> Any:
        """Wait until something is so; what agent and server wrote is in the failure's words."""
        try:
            return wait(what, check, LIMIT)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.status()}\n{self.log('agent')}\n{self.log('server')}") from None

    def config(self) -> str:
        """What the model server is told."""
        return (self.folder / "models.config").read_text()

    def answer(self, version: int, model: str = "m") -> Any:
        """What the model server itself answers for ``x = [0]``."""
        connection = HTTPConnection(f"127.0.0.1:{self.ports[1]}", timeout=30)
        try:
            body = json.dumps({"inputs": [0.0]})
            connection.request("POST", f"/v1/models/{model}/versions/{version}:predict", body=body)
            answer = connection.getresponse()
            found = answer.read()
            return json.loads(found).get("outputs") if answer.status == 200 else answer.status
        finally:
            connection.close()

    def says(self, version: int, model: str = "m") -> str | None:
        """The state that the model server itself tells."""
        connection = HTTPConnection(f"127.0.0.1:{self.ports[1]}", timeout=30)
        try:
            connection.request("GET", f"/v1/models/{model}/versions/{version}")
            rows = json.loads(connection.getresponse().read()).get("model_version_status", [])
            return str(rows[0]["state"]) if rows else None
        finally:
            connection.close()

    def log(self, process: str) -> str:
        """What a process wrote."""
        file = self.home / f"{process}.log"
        return file.read_text(errors="replace")[-4000:] if file.exists() else ""

    def stop(self) -> None:
        """End what this started."""
        for process in (self.agent, self.server):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def _start(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def unit(home: Path, samples: Path, *mode: str) -> Iterator[Unit]:
    """A replica for the time of the block; neither agent nor server runs yet."""
    home.mkdir(parents=True, exist_ok=True)
    made = Unit(home, samples, mode)
    try:
        yield made
    finally:
        made.stop()

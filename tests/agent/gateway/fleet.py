"""A small fleet around one real gateway agent and one real Envoy: replicas that say what a test wants them to say."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.gateway.harness import Stub, wait
from tests.ports import free_ports
from tfsdeploy.agent.status import StatusServer
from tfsdeploy.gateway.shape import LISTENERS, GatewayShape, envoy_command
from tfsdeploy.protocol.agents import GatewayStatus, ReplicaStatus, State, VersionStatus, decode_gateway, encode
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Change, ModelRelease, Release

FLEET = "shop"
GATEWAY = "shop-gateway-1"
AGENT = (sys.executable, "-P", "-m", "tfsdeploy", "agent", "gateway")


class Loop:
    """An event loop in a thread, for the status servers of a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """End the thread, and polls that nobody will answer."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Replica:
    """A replica agent's stand-in beside a back end: it says what it is told to say."""

    def __init__(self, loop: Loop, folder: Path, stub: Stub) -> None:
        self.name = stub.endpoint.replica
        self.acknowledged: dict[str, str] = {}
        self._loop = loop
        self._folder = folder / self.name
        self._server: StatusServer | None = None
        self._port = free_ports(1)[0]
        self.status = ReplicaStatus(self.name, 1, True, False, stub.endpoint.rest, stub.endpoint.grpc)

    def start(self) -> None:
        """Answer, and be found."""

        async def start() -> StatusServer:
            listen = f"127.0.0.1:{self._port}"
            server = StatusServer(
                listen,
                started=lambda: True,
                ready=lambda: True,
                metrics=lambda: b"",
                on_poll=self._hear,
            )
            server.publish(encode(self.status))
            await server.start()
            return server

        self._server = self._loop.run(start())
        self._folder.mkdir(parents=True, exist_ok=True)
        endpoint = {"replica": self.name, "status": f"http://127.0.0.1:{self._port}"}
        (self._folder / "endpoint.json").write_text(json.dumps(endpoint))

    def say(self, leaving: bool = False, **models: Mapping[int, str]) -> None:
        """Publish where each version of each model stands."""
        rows = {
            name: {version: VersionStatus(State(state)) for version, state in versions.items()}
            for name, versions in models.items()
        }
        self.status = replace(self.status, leaving=leaving, models=rows)

        async def publish(server: StatusServer) -> None:
            server.publish(encode(self.status))

        if self._server is not None:
            self._loop.run(publish(self._server))

    def hide(self) -> None:
        """Answer on, and be found no more."""
        (self._folder / "endpoint.json").unlink()

    def fall_silent(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._loop.run(self._server.close())
            self._server = None

    def _hear(self, gateway: str, applied: str) -> None:
        self.acknowledged[gateway] = applied


@dataclass
class Fleet:
    """What a test works with."""

    home: Path
    shape: GatewayShape
    listen: str
    replicas: tuple[Replica, ...]
    agent: subprocess.Popen[bytes] | None = None
    envoy: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """The gateway's own."""
        return self.home / "gateways" / GATEWAY

    @property
    def releases(self) -> ReleaseFolder:
        """The release document."""
        return ReleaseFolder(self.home)

    def release(self, command: str = "test", uid: str | None = None, **models: ModelRelease) -> Release:
        """Write the next generation."""
        before = self.releases.read()
        change = Change("ann@desk", "", "", command)
        if before is None or (uid is not None and uid != before.uid):
            new = Release(FLEET, uid or "one", 1, change, models=models)
        else:
            new = before.next(models, change)
        self.releases.swap(new, before)
        return new

    def start_agent(self) -> None:
        """Start the agent; it may be started again after it ended."""
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = {
            "name": GATEWAY, "fleet": FLEET, "release": self.home / "release.json", "pins": self.home / "pins.json",
            "replicas": self.home / "replicas", "folder": self.folder, "listen": self.listen, "min-available": 1,
            "keep": 1, "drain-seconds": 1, "rest-port": self.shape.rest_port, "grpc-port": self.shape.grpc_port,
        }  # fmt: skip
        words = [f"--{name}={value}" for name, value in flags.items()]
        with (self.home / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen([*AGENT, *words], stdout=log, stderr=log, start_new_session=True)

    def start_envoy(self) -> None:
        """Start Envoy as its supervisor would: when there are listeners."""
        wait("listeners", (self.folder / LISTENERS).exists)
        with (self.home / "envoy.log").open("ab") as log:
            self.envoy = subprocess.Popen(
                envoy_command(self.shape), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def start(self) -> None:
        """Start both, and wait until the gateway is ready."""
        self.start_agent()
        self.start_envoy()
        self.until("ready", lambda status: status.ready)

    def status(self) -> GatewayStatus | None:
        """What the agent says; None if it does not answer."""
        found = self.ask("/v1/status")
        return decode_gateway(found[1]) if found and found[0] == 200 else None

    def ask(self, path: str) -> tuple[int, bytes] | None:
        """The status server's answer."""
        connection = HTTPConnection(self.listen, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return None
        finally:
            connection.close()

    def until(self, what: str, check: Callable[[GatewayStatus], Any], limit: float = 60) -> GatewayStatus:
        """Wait until the agent says something."""

        def look() -> GatewayStatus | None:
            status = self.status()
            return status if status is not None and check(status) else None

        try:
            found = wait(what, look, limit)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.status()}\n{self.log()}") from None
        assert isinstance(found, GatewayStatus)
        return found

    def until_effective(self, generation: int, traffic: Mapping[int, int], model: str = "m") -> None:
        """Wait until a generation's split is effective and acknowledged."""
        self.until(
            f"{traffic} of generation {generation}",
            lambda status: (
                (found := status.models.get(model)) and found.generation >= generation and found.traffic == traffic
            ),
        )

    def versions(self, count: int = 40) -> set[str]:
        """The versions that answer requests which name none."""
        return {self.answer()["path"].split("/versions/")[1].partition(":")[0] for _ in range(count)}

    def names(self, count: int = 40) -> set[str]:
        """The replicas that answer."""
        return {self.answer()["name"] for _ in range(count)}

    def answer(self, path: str = "/v1/models/m:predict", sleep: float = 0) -> dict[str, Any]:
        """One answer through the gateway, for which the replica takes ``sleep`` seconds."""
        connection = HTTPConnection("127.0.0.1", self.shape.rest_port, timeout=sleep + 30)
        try:
            connection.request("POST", path, body=b"{}", headers={"x-sleep": str(sleep)})
            answer = connection.getresponse()
            return {"status": answer.status, **json.loads(answer.read())}
        finally:
            connection.close()

    def files(self) -> dict[str, bytes]:
        """Envoy's configuration as it stands."""
        return {file.name: file.read_bytes() for file in self.folder.glob("[!.]*ds*.json")}

    def log(self) -> str:
        """What the agent wrote."""
        file = self.home / "agent.log"
        return file.read_text() if file.exists() else ""

    def stop(self) -> None:
        """End what this started."""
        for process in (self.agent, self.envoy):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


@contextmanager
def fleet(home: Path, stubs: tuple[Stub, ...]) -> Iterator[Fleet]:
    """A fleet whose replicas answer; neither agent nor Envoy runs yet."""
    loop = Loop()
    rest, grpc, port = free_ports(3)
    shape = GatewayShape(name=GATEWAY, fleet=FLEET, rest_port=rest, grpc_port=grpc)
    replicas = tuple(Replica(loop, home / "replicas", stub) for stub in stubs)
    made = Fleet(home, shape, f"127.0.0.1:{port}", replicas)
    try:
        for one in replicas:
            one.start()
        yield made
    finally:
        made.stop()
        for one in replicas:
            one.fall_silent()
        loop.close()

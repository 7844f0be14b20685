"""A fleet in one process: a real release folder, replicas and gateways that follow it and answer over real HTTP.

They keep state as the agents do (a replica loads, fails or is slow; a gateway holds the barrier); no model servers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tfsdeploy.fleet.pins import Pins
from tfsdeploy.protocol.agents import (
    GatewayModel,
    GatewayStatus,
    ReplicaStatus,
    State,
    VersionStatus,
    encode,
    etag,
)
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Change, ModelRelease, Release
from tfsdeploy.release.transitions import add
from tfsdeploy.targets.base import GatewayAddress, ReplicaAddress, Settings

METADATA = b"""{"model_spec": {"name": "ranker", "signature_name": "", "version": "1"}, "metadata": {"signature_def":
{"signature_def": {"serving_default": {"inputs": {"x": {"dtype": "DT_FLOAT", "name": "x:0", "tensor_shape":
{"dim": [{"size": "-1", "name": ""}], "unknown_rank": false}}}, "outputs": {}, "method_name": ""}}}}}"""


class StatusServer:
    """Serves one status document, with long polls, beats and ETag; answers like a model server too."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.body = b""
        self.hung = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.endswith("/metadata"):
                    outer.say(self, METADATA)
                elif self.path.startswith("/v1/status"):
                    outer.answer(self)
                else:
                    self.send_error(404)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.say(self, b'{"outputs": [2.0]}')

            def log_message(self, *words: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def say(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer as a model server does."""
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def publish(self, status: ReplicaStatus | GatewayStatus) -> None:
        with self.changed:
            self.body = encode(status)
            self.changed.notify_all()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = parse_qs(urlsplit(handler.path).query)
        known = asked.get("etag", [""])[0]
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        with self.changed:
            while (self.hung or etag(self.body) == known) and not self.ended:
                self.changed.wait(0.2)
                if not self.hung:
                    try:
                        handler.wfile.write(b"1\r\n\n\r\n")
                    except OSError:
                        return
            body = self.body
        try:
            handler.wfile.write(f"{len(body) + 1:x}\r\n".encode() + body + b"\n\r\n0\r\n\r\n")
        except OSError:
            return

    ended = False

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class SmallFleet:
    """A `Target` whose parts run in this process.

    Attributes:
        broken: (replica, version) -> the error with which it fails to load.
        slow: (replica, version) pairs that stay LOADING until they are removed from here.
        stuck: gateways that do not switch.
    """

    kind = "local"

    def __init__(self, folder: Path, replicas: int = 3, gateways: int = 2) -> None:
        self.fleet = "shop"
        self.folder = folder
        self.broken: dict[tuple[str, int], str] = {}
        self.slow: set[tuple[str, int]] = set()
        self.stuck: set[str] = set()
        self.replica_servers = {f"shop-serving-{n}": StatusServer() for n in range(1, replicas + 1)}
        self.gateway_servers = {f"shop-gateway-{n}": StatusServer() for n in range(1, gateways + 1)}
        self.states: dict[str, ReplicaStatus] = {}
        self.effective: dict[str, dict[str, GatewayModel]] = {name: {} for name in self.gateway_servers}
        self._pins: Pins | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    # What a Target offers

    def reached(self, replica: str, address: str) -> str:
        return address

    def troubles(self) -> tuple[str, ...]:
        return ()

    def settings(self) -> Settings | None:
        return Settings("shop", "local", str(self.folder / "fleet.yaml"), self.folder.as_uri(), {}, 3, 2, 1)

    def releases(self) -> ReleaseFolder:
        return ReleaseFolder(self.folder)

    def pins(self) -> Pins | None:
        return self._pins

    def write_pins(self, pins: Pins) -> None:
        self._pins = pins

    def replicas(self) -> tuple[ReplicaAddress, ...]:
        return tuple(ReplicaAddress(name, server.url) for name, server in self.replica_servers.items())

    def gateways(self) -> tuple[GatewayAddress, ...]:
        servers = self.gateway_servers.items()
        return tuple(GatewayAddress(name, server.url, server.url, "127.0.0.1:2") for name, server in servers)

    def where(self) -> str:
        return ""

    def entrance(self) -> tuple[str, str] | None:
        return None

    # What its parts do

    def write(self, **models: ModelRelease) -> Release:
        """Write models as they are given."""
        change = Change("ops@here", "2026-01-01T00:00:00+00:00", "", "test")
        present = self.releases().read()
        if present is None:
            new = Release("shop", "life-1", 1, change, models=models)
        else:
            new = present.next(models, change)
        self.releases().swap(new, present)
        return new

    def model(self, name: str) -> ModelRelease:
        release = self.releases().read()
        assert release is not None
        return release.models[name]

    @contextmanager
    def running(self) -> Iterator[SmallFleet]:
        servers = [*self.replica_servers.values(), *self.gateway_servers.values()]
        self._step()
        for server in servers:
            server.start()
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()
            for server in servers:
                server.stop()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self._step()

    def _step(self) -> None:
        release = self.releases().read()
        assert release is not None
        for name, server in self.replica_servers.items():
            self.states[name] = self._replica(name, release)
            server.publish(self.states[name])
        for name, server in self.gateway_servers.items():
            if name not in self.stuck:
                self._switch(name, release)
            server.publish(GatewayStatus(name, release.generation, True, False, dict(self.effective[name])))

    def _replica(self, name: str, release: Release) -> ReplicaStatus:
        models = {
            model_name: {version: self._version(name, version) for version in model.versions}
            for model_name, model in release.models.items()
        }
        rest = self.replica_servers[name].url.removeprefix("http://")
        return ReplicaStatus(name, release.generation, True, False, rest, "127.0.0.1:4", models)

    def _version(self, name: str, version: int) -> VersionStatus:
        if (name, version) in self.broken:
            return VersionStatus(State.FAILED, error=self.broken[name, version])
        if (name, version) in self.slow:
            return VersionStatus(State.LOADING)
        return VersionStatus(State.AVAILABLE)

    def _switch(self, gateway: str, release: Release) -> None:
        for name, model in release.models.items():
            present = self.effective[gateway].get(name)
            members = [s for n, s in self.states.items() if not self.replica_servers[n].hung]
            waiting = {
                s.replica: str(row.error or row.state)
                for s in members
                for version in model.traffic
                if (row := s.models[name][version]).state is not State.AVAILABLE
            }
            needed = len(members) if model.opens == "all" else 2
            is_open = len(members) - len(waiting) >= needed
            if is_open or (present is not None and present.traffic == model.traffic):
                self.effective[gateway][name] = GatewayModel(release.generation, dict(model.traffic), {})
            elif present is not None:
                self.effective[gateway][name] = GatewayModel(present.generation, present.traffic, waiting)


@contextmanager
def small_fleet(folder: Path, **numbers: int) -> Iterator[SmallFleet]:
    """A running fleet with one model ``ranker`` at version 1."""
    fleet = SmallFleet(folder, **numbers)
    fleet.write(ranker=add(1, None))
    with fleet.running():
        yield fleet

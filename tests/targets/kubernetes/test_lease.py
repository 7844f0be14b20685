"""The Lease of a fleet's shape, while the API server restarts: asked for again, and taken once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.targets.kubernetes.stand_in import connected
from tfsdeploy.targets.kubernetes.connection import Connection, Place
from tfsdeploy.targets.kubernetes.lease import held
from tfsdeploy.targets.kubernetes.objects import Objects


class Restarting(HTTPServer):
    """Keeps one Lease, and answers no first request to make it: because it is starting, or because it has just ended.

    Args:
        made: the first request is carried out all the same.
    """

    def __init__(self, *, made: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.made = made
        self.asked: list[str] = []
        self.lease: dict[str, Any] | None = None


class Handler(BaseHTTPRequestHandler):
    server: Restarting

    def do_POST(self) -> None:
        manifest = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        first, there = "POST" not in self.server.asked, self.server.lease is not None
        if not there and (self.server.made or not first):
            self.server.lease = {**manifest, "metadata": {**manifest["metadata"], "uid": "u", "resourceVersion": "1"}}
        self._answer(503 if first else 409 if there else 201)

    def do_GET(self) -> None:
        self._answer(404 if self.server.lease is None else 200)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)
        self.server.lease = None

    def _answer(self, code: int) -> None:
        self.server.asked.append(self.command)
        status = {"kind": "Status", "message": "the test says so"}
        body = json.dumps(status if code >= 400 else self.server.lease).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(params=[False, True], ids=["not made", "made"])
def restarting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restarting]:
    server = Restarting(made=request.param)
    with connected(server, tmp_path, monkeypatch):
        yield server


def test_a_restart_of_the_api_server_is_no_reason_to_end(restarting: Restarting) -> None:
    with held(Objects(Connection(Place())), "shop"):
        assert restarting.lease is not None
    assert restarting.lease is None
    assert restarting.asked == ["POST", "POST", *(["GET"] if restarting.made else []), "DELETE"]

"""What an API server's answers to one object are turned into, asked of a server that only says what the test wants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.targets.kubernetes.test_kubeconfig import GOOD
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.targets.kubernetes.connection import Connection, Place
from tfsdeploy.targets.kubernetes.objects import Objects

MISSING = {"kind": "Status", "code": 404, "message": "the server could not find the requested resource"}


@pytest.fixture
def lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    """The objects of a server that finds nothing."""

    class Lacking(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(MISSING).encode()
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Lacking) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        text = GOOD.replace("https://127.0.0.1:1", f"http://127.0.0.1:{server.server_port}")
        (tmp_path / "config").write_text(text)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield Objects(Connection(Place()))
        server.shutdown()


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("PodMonitor", "the cluster has no podmonitors.monitoring.coreos.com: install what brings them"),
        ("PrometheusRule", "the cluster has no prometheusrules.monitoring.coreos.com"),
        ("Service", "kubectl create namespace shop"),
        ("Deployment", "kubectl create namespace shop"),
    ],
)
def test_what_must_be_there_first_is_said(lacking: Objects, kind: str, hint: str) -> None:
    """The same answer, 404, has two reasons: no such namespace, or no such kind."""
    with pytest.raises(TfsdeployError, match="could not find the requested resource") as caught:
        lacking.apply({"kind": kind, "metadata": {"name": "shop"}})
    assert hint in caught.value.hint

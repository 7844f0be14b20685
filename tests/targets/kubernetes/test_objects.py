"""What an API server's answers to one object are turned into, asked of a server that only says what the test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.targets.kubernetes.stand_in import connected
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.targets.kubernetes.kinds import kind_named
from tfsdeploy.targets.kubernetes.objects import Objects


def manifest(kind: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "shop"}}


MISSING = {"kind": "Status", "code": 404, "message": "the server could not find the requested resource"}


@contextmanager
def server(code: int, body: str, folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Objects]:
    """The objects of a server that answers everything with the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PATCH = do_POST = do_PUT = do_GET

        def log_message(self, *words: object) -> None:
            pass

    with connected(HTTPServer(("127.0.0.1", 0), Handler), folder, environment) as connection:
        yield Objects(connection)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("PodMonitor", "the cluster has no podmonitors.monitoring.coreos.com: install what brings them"),
        ("PrometheusRule", "the cluster has no prometheusrules.monitoring.coreos.com"),
        ("Service", "kubectl create namespace shop"),
        ("Deployment", "kubectl create namespace shop"),
    ],
)
def test_what_must_be_there_first_is_said(
    kind: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer, 404, has two reasons: no such namespace, or no such kind."""
    with (
        server(404, json.dumps(MISSING), tmp_path, monkeypatch) as objects,
        pytest.raises(TfsdeployError, match="could not find the requested resource") as caught,
    ):
        objects.apply(manifest(kind))
    assert hint in caught.value.hint


@pytest.mark.parametrize("body", ["<html>\n<title>Log in</title>", "[]", "{}", ""])
@pytest.mark.parametrize(
    "ask",
    [
        lambda objects: objects.get(kind_named("Service"), "shop"),
        lambda objects: objects.list(kind_named("Service")),
        lambda objects: objects.apply(manifest("Service")),
        lambda objects: objects.create(manifest("Service")),
        lambda objects: objects.replace(manifest("Service")),
        lambda objects: objects.rules(),
    ],
    ids=["get", "list", "apply", "create", "replace", "rules"],
)
def test_who_is_no_api_server_is_said(
    ask: Callable[[Objects], object], body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a page to log in, which some proxies show instead of an error."""
    with (
        server(200, body, tmp_path, monkeypatch) as objects,
        pytest.raises(TfsdeployError, match="no API server") as caught,
    ):
        ask(objects)
    assert caught.value.where.startswith("http://127.0.0.1:")

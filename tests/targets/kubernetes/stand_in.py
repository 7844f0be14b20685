"""The way to a server that stands in for an API server, which answers what the test wants to be said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.targets.kubernetes.test_kubeconfig import GOOD
from tfsdeploy.targets.kubernetes.connection import Connection, Place


@contextmanager
def connected(server: HTTPServer, folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Connection]:
    """Let a server answer, and a kubeconfig in the folder lead there; the server is closed afterwards."""
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        (folder / "config").write_text(
            GOOD.replace("https://127.0.0.1:1", f"http://127.0.0.1:{server.server_address[1]}")
        )
        environment.setenv("KUBECONFIG", str(folder / "config"))
        try:
            yield Connection(Place())
        finally:
            server.shutdown()

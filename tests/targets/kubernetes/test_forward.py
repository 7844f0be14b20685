"""A way through the API server that breaks: whoever waits for an answer is told, and no traceback is printed."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NoReturn

import pytest

from tests.targets.kubernetes.stand_in import connected
from tfsdeploy.targets.kubernetes.forward import to_pods, way_class


class Broken:
    """A websocket that can be read from, and breaks then."""

    connected = True

    def __init__(self) -> None:
        self.sock, self._far = socket.socketpair()
        self._far.send(b"x")

    def fileno(self) -> int:
        return self.sock.fileno()

    def recv_data_frame(self, control: bool) -> NoReturn:
        raise ssl.SSLEOFError("EOF occurred in violation of protocol")

    def close(self) -> None:
        self.sock.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"kind": "Status", "message": "pods is forbidden: User cannot get pods/portforward"}', "cannot get"),
        (b"<html>", "HTTP 403"),
    ],
)
def test_what_is_not_opened_is_told_in_the_server_s_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, said: str
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with connected(HTTPServer(("127.0.0.1", 0), Refusing), tmp_path, monkeypatch) as connection:
        ways = to_pods(connection)
        host, _, port = ways.to("pod", 8502).partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as here:
            assert here.recv(1) == b""
        (failure,) = ways.failures(["pod"])
        ways.close()
    assert failure.startswith("pod: no way to port 8502: ")
    assert said in failure
    assert "content-length" not in failure


def test_a_connection_that_breaks_ends_the_way() -> None:
    websocket = Broken()
    here = way_class()(websocket, [8502]).socket(8502)
    here.settimeout(60)
    with closing(here), websocket.sock, websocket._far:
        assert here.recv(1) == b""

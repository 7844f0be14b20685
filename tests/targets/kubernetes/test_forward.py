"""A way through the API server that breaks: whoever waits for an answer is told, and no traceback is printed."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from typing import NoReturn

from tfsdeploy.targets.kubernetes.forward import way_class


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


def test_a_connection_that_breaks_ends_the_way() -> None:
    websocket = Broken()
    here = way_class()(websocket, [8502]).socket(8502)
    here.settimeout(10)
    with closing(here), websocket.sock, websocket._far:
        assert here.recv(1) == b""

"""Ports of this machine that lead to ports of pods, through the API server (`kubectl port-forward` does the same)."""

from __future__ import annotations

import json
import logging
from functools import cache
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.targets.forward import Forwards
from tfsdeploy.targets.kubernetes.connection import Connection

log = logging.getLogger(__name__)

PROTOCOL = "v4.channel.k8s.io"
"""The newest one that carries ports; v5 is for commands (kubernetes/enhancements, KEP-4006)."""

OPEN_SECONDS = 10.0
"""How long the API server may take to open one."""


def to_pods(connection: Connection) -> Forwards:
    """Ways to the pods of a cluster."""
    return Forwards(lambda pod, port: _open(connection, pod, port))


def _open(connection: Connection, pod: str, port: int) -> Any:
    """One connection is one websocket: the protocol carries no second one of the same port."""
    from kubernetes.stream.ws_client import create_websocket
    from websocket import WebSocketBadStatusException, setdefaulttimeout

    scheme, _, host = connection.configuration.host.partition("://")
    path = f"api/v1/namespaces/{connection.namespace}/pods/{pod}/portforward?ports={port}"
    headers = {**connection.credentials(), "sec-websocket-protocol": PROTOCOL}
    setdefaulttimeout(OPEN_SECONDS)
    address = f"{'wss' if scheme == 'https' else 'ws'}://{host}/{path}"
    try:
        websocket = create_websocket(connection.configuration, address, headers)
    except WebSocketBadStatusException as error:
        raise TfsdeployError(_refusal(error.status_code, error.resp_body)) from error
    websocket.settimeout(None)
    return way_class()(websocket, [port]).socket(port)


def _refusal(code: int, body: bytes | None) -> str:
    """The API server's own words for what it does not open."""
    try:
        return str(json.loads(body or b"")["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {code}"


@cache
def way_class() -> Any:
    """The package's `PortForward`, whose thread ends the way when the connection breaks.

    As it is, the thread ends with a traceback, and whoever waits for an answer waits on.
    """
    from kubernetes.stream.ws_client import PortForward

    class Way(PortForward):  # type: ignore[misc]
        def _proxy(self) -> None:
            try:
                super()._proxy()
            except Exception as error:
                log.debug("a way to a pod broke: %s", error)
            finally:
                for port in self.local_ports.values():
                    port.python.close()

    return Way

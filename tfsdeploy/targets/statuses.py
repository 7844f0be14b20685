"""Ask agents for their status, once, from a command: what there is to say, or nothing if they do not answer."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from tfsdeploy.protocol.agents import GatewayStatus, ReplicaStatus, decode_gateway, decode_replica

ANSWER_SECONDS = 2.0
"""An agent answers in milliseconds; one that takes longer hangs."""


def replica_status(url: str) -> ReplicaStatus | None:
    """A replica's status; None if its agent does not answer.

    Args:
        url: base URL of the agent's status server.
    """
    body = _get(url)
    try:
        return None if body is None else decode_replica(body)
    except ValueError:
        return None


def gateway_status(url: str) -> GatewayStatus | None:
    """A gateway's status; None if its agent does not answer.

    Args:
        url: base URL of the agent's status server.
    """
    body = _get(url)
    try:
        return None if body is None else decode_gateway(body)
    except ValueError:
        return None


def _get(url: str) -> bytes | None:
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/v1/status")
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()

"""What to ask Envoy's administration, and how to read its answers."""

from __future__ import annotations

from collections.abc import Iterable

from tfsdeploy.gateway.files import CLUSTERS_FILE, ROUTES_FILE, File
from tfsdeploy.gateway.shape import LISTENERS

VERSION_STATISTIC = {
    LISTENERS: "listener_manager.lds.version_text",
    CLUSTERS_FILE: "cluster_manager.cds.version_text",
    ROUTES_FILE["rest"]: "http.rest.rds.rest.version_text",
    ROUTES_FILE["grpc"]: "http.grpc.rds.grpc.version_text",
}
"""File -> the statistic that carries the version of it that Envoy uses."""

DRAIN = ("/healthcheck/fail", "/drain_listeners?graceful")
"""``POST`` these, in this order: load balancers in front are told, clients' connections are wound down for the shape's
``drain_seconds``, and then the listeners close. With ``skip_exit`` they would stay open, and new requests could arrive
until the very moment in which Envoy is ended."""

DRAINING = "/stats?filter=(listener_stopped|downstream_rq_active)$"
"""``GET`` this while draining; the answer is for :func:`drained`."""

_LISTENERS = 2
_ACTIVE = ("http.rest.downstream_rq_active", "http.grpc.downstream_rq_active")


def acknowledged(statistics: str, files: Iterable[File]) -> bool:
    """Whether Envoy uses exactly these files.

    Args:
        statistics: its answer to ``GET /stats``, with the statistics of :data:`VERSION_STATISTIC`.
        files: what was written.
    """
    reported = _parsed(statistics)
    return all(reported.get(VERSION_STATISTIC[file.name]) == file.version for file in files)


def drained(statistics: str) -> bool:
    """Whether the listeners are closed and no client waits for an answer: Envoy can be ended.

    Args:
        statistics: its answer to ``GET`` :data:`DRAINING` after :data:`DRAIN`.
    """
    reported = _parsed(statistics)
    closed = int(reported.get("listener_manager.listener_stopped", 0)) >= _LISTENERS
    return closed and not any(int(reported.get(name, 0)) for name in _ACTIVE)


def _parsed(statistics: str) -> dict[str, str]:
    lines = (line.partition(": ") for line in statistics.splitlines())
    return {name: value.strip().strip('"') for name, separator, value in lines if separator}

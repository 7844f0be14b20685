"""Resources -> the files that Envoy watches, and whether it has taken them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfsdeploy.gateway.clusters import clusters
from tfsdeploy.gateway.routes import routes
from tfsdeploy.gateway.shape import GatewayShape
from tfsdeploy.gateway.table import Table

CLUSTERS_FILE = "cds.json"
ROUTES_FILE = {"rest": "rds-rest.json", "grpc": "rds-grpc.json"}

ACKNOWLEDGEMENTS = "/stats?type=TextReadouts&filter=version_text"
"""What to ask Envoy's administration for; the answer is for :func:`acknowledged`."""

VERSION_STATISTIC = {
    "lds.json": "listener_manager.lds.version_text",
    CLUSTERS_FILE: "cluster_manager.cds.version_text",
    ROUTES_FILE["rest"]: "http.rest.rds.rest.version_text",
    ROUTES_FILE["grpc"]: "http.grpc.rds.grpc.version_text",
}
"""File -> the statistic that carries the version of it that Envoy uses."""

ACTIVE_REQUESTS = ("http.rest.downstream_rq_active", "http.grpc.downstream_rq_active")
"""The statistics that are 0 when no client waits for an answer."""

PAUSE_SECONDS = 0.1
"""How long requests may still use a route after Envoy acknowledged that it is gone; only then may its clusters go."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of Envoy's configuration.

    Attributes:
        name: below the shape's directory.
        text: what it holds.
        version: a digest of what it says; also inside the text, and what Envoy reports back.
    """

    name: str
    text: str
    version: str

    def write(self, directory: Path) -> None:
        """Puts the file in place by a rename: Envoy does not notice what is written in place."""
        draft = directory / f".{self.name}.new"
        draft.write_text(self.text, encoding="utf-8")
        os.replace(draft, directory / self.name)


def clusters_file(table: Table, shape: GatewayShape) -> File:
    """All clusters with their endpoints inline: one watched file, since Envoy has at most 128 of them."""
    return _file(CLUSTERS_FILE, clusters(table, shape))


def routes_files(table: Table, shape: GatewayShape) -> tuple[File, File]:
    """The routes of both protocols; all that a change of weights or labels rewrites."""
    return (
        _file(ROUTES_FILE["rest"], [routes(table, "rest", shape)]),
        _file(ROUTES_FILE["grpc"], [routes(table, "grpc", shape)]),
    )


def acknowledged(statistics: str, files: Iterable[File]) -> bool:
    """Whether Envoy uses exactly these files.

    Args:
        statistics: its answer to ``GET`` :data:`ACKNOWLEDGEMENTS`.
        files: what was written.
    """
    reported = {}
    for line in statistics.splitlines():
        name, separator, value = line.partition(": ")
        if separator:
            reported[name] = value.strip().strip('"')
    return all(reported.get(VERSION_STATISTIC[file.name]) == file.version for file in files)


def _file(name: str, resources: list[dict[str, Any]]) -> File:
    body = json.dumps(resources, separators=(",", ":"))
    version = hashlib.sha256(body.encode()).hexdigest()[:16]
    return File(name, f'{{"version_info":"{version}","resources":{body}}}\n', version)

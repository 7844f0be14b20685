"""Resources -> the files that Envoy watches."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfsdeploy.files import replace_file
from tfsdeploy.gateway.clusters import clusters
from tfsdeploy.gateway.routes import routes
from tfsdeploy.gateway.shape import GatewayShape
from tfsdeploy.gateway.table import Table

CLUSTERS_FILE = "cds.json"
ROUTES_FILE = {"rest": "rds-rest.json", "grpc": "rds-grpc.json"}

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
        replace_file(directory / self.name, self.text, lasting=False)


def clusters_file(table: Table, shape: GatewayShape) -> File:
    """All clusters with their endpoints inline: one watched file, since Envoy has at most 128 of them."""
    return _file(CLUSTERS_FILE, clusters(table, shape))


def routes_files(table: Table, shape: GatewayShape) -> tuple[File, File]:
    """The routes of both protocols; all that a change of weights or labels rewrites."""
    return (
        _file(ROUTES_FILE["rest"], [routes(table, "rest", shape)]),
        _file(ROUTES_FILE["grpc"], [routes(table, "grpc", shape)]),
    )


def _file(name: str, resources: list[dict[str, Any]]) -> File:
    body = json.dumps(resources, separators=(",", ":"))
    version = hashlib.sha256(body.encode()).hexdigest()[:16]
    return File(name, f'{{"version_info":"{version}","resources":{body}}}\n', version)

"""Where a replica's agent is, told in a folder that gateways share with it: nobody else knows a container's address."""

from __future__ import annotations

import json
import logging
import shutil
import socket
from pathlib import Path

from tfsdeploy.files import replace_file

log = logging.getLogger(__name__)


def announce(folder: Path, name: str, listen: str) -> None:
    """Write ``NAME/endpoint.json``; a restarted container may have another address, and writes it anew.

    Args:
        folder: where gateways look for replicas.
        name: of the replica.
        listen: ``host:port`` of the status server; for all addresses that of this host's name.
    """
    host, _, port = listen.rpartition(":")
    try:
        at = socket.gethostbyname(socket.gethostname()) if host == "0.0.0.0" else host
        (folder / name).mkdir(parents=True, exist_ok=True)
        document = {"replica": name, "status": f"http://{at}:{port}"}
        replace_file(folder / name / "endpoint.json", json.dumps(document) + "\n", lasting=False)
    except OSError as error:
        log.error("gateways are not told where this replica is: %s", error)


def retract(folder: Path, name: str) -> None:
    """Take the announcement back: the replica has left."""
    shutil.rmtree(folder / name, ignore_errors=True)

"""What `doctor` finds of a fleet that is not up."""

from __future__ import annotations

import json
import os
import socket

from tfsdeploy.deploy.doctor import fleet_findings
from tfsdeploy.fleet.load import parse_fleet


def test_a_busy_port_is_told_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        document = {
            "apiVersion": "tfsdeploy/v1",
            "kind": "Fleet",
            "name": "shop",
            "store": "file:///models",
            "gateway": {"rest": port, "grpc": 0},
            "models": {"m": {}},
        }
        fleet = parse_fleet(json.dumps(document), "fleet.yaml")
        store, rest = fleet_findings(fleet, is_up=False, check_store=lambda _: "no model")
    assert (store.ok, rest.check, rest.ok) == (True, "gateway rest port", False)
    assert rest.found.startswith(f"127.0.0.1:{port}: Address already in use by ")
    assert rest.found.endswith(f"(process {os.getpid()})")

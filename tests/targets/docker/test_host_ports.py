"""Which ports of the host two fleets must not share: a table, from fleet files to what the engine would list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.render.docker.containers import containers
from tfsdeploy.render.docker.shape import labels
from tfsdeploy.targets.docker.host_ports import shared_port
from tfsdeploy.targets.docker.observed import Seen, seen


def fleet(folder: Path, name: str, gateway: str) -> Fleet:
    file = folder / f"{name}.yaml"
    file.write_text(
        f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: {name}\nstore: file:///srv/models\nmodels: {{m: {{}}}}\n"
        f"gateway: {{replicas: 1, {gateway}}}\n"
    )
    return load_fleet(file)


def listed(of: Fleet, state: str) -> list[Seen]:
    rows = [
        {"Names": [f"/{one.name}"], "Labels": labels(of, one), "State": state, "Status": "Up"} for one in containers(of)
    ]
    return [one for row in rows if (one := seen(row)) is not None]


HOST = "rest: 8501, grpc: 8500, network: host"


@pytest.mark.parametrize(
    ("ours", "other", "state", "refused"),
    [
        (f"{HOST}, address: 0.0.0.0", f"{HOST}, address: 0.0.0.0", "running", True),
        (f"{HOST}, address: 0.0.0.0", f"{HOST}, address: 127.0.0.1", "running", True),
        (f"{HOST}, address: 10.0.0.1", f"{HOST}, address: 10.0.0.1", "restarting", True),
        (f"{HOST}, address: 10.0.0.1", f"{HOST}, address: 127.0.0.1", "running", False),
        ("rest: 8600, grpc: 8500, network: host", HOST, "running", True),
        ("rest: 8601, grpc: 8600, network: host", HOST, "running", False),
        (HOST, HOST, "exited", False),
        # The engine itself refuses a published port that is in use.
        (HOST, "rest: 8501, grpc: 8500", "running", False),
        ("rest: 8501, grpc: 8500", HOST, "running", False),
    ],
)
def test_shared_port(tmp_path: Path, ours: str, other: str, state: str, refused: bool) -> None:
    found = shared_port(containers(fleet(tmp_path, "shop", ours)), listed(fleet(tmp_path, "bank", other), state))
    assert (found is not None) == refused
    if found is not None:
        assert found.where == "bank-gateway-1-envoy"
        assert "gateway.rest" in found.hint

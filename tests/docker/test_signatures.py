"""Containers load what the fleet's key has signed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.product import AGENT_IMAGE
from tests.docker.engine import Engine
from tests.docker.live import DockerFleet
from tests.keys import write_key

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

M = "m"


def test_only_what_is_signed_is_loaded(engine: Engine, tmp_path: Path) -> None:
    """The key reaches the agent's container; what a command does not ask for, the replica asks for by itself."""
    fleet = DockerFleet(tmp_path, engine, "signed")
    write_key(tmp_path, "release")
    options = {"requireSignature": ["release.pub.pem"]}
    fleet.spec |= {"models": {M: {}}, "storeOptions": options, "agent": {"image": AGENT_IMAGE}}
    fleet.spec["serving"]["replicas"] = fleet.spec["gateway"]["replicas"] = 1
    # Other fleets of these tests may run on the engine.
    fleet.spec["gateway"] |= {"rest": 18501, "grpc": 18500}
    fleet.push(M, 1)
    try:
        assert "not signed" in fleet.up(code=1).err
        fleet.run("adopt", M, "1", "--sign", "release.pem")
        fleet.up()
        fleet.push(M, 2)
        assert "not signed" in fleet.run("promote", M, "2", code=4).err
        trusting = {name: value for name, value in fleet.spec.items() if name != "storeOptions"}
        fleet.spec, strict = trusting, fleet.spec
        assert "not signed" in fleet.run("promote", M, "2", code=4).err
        fleet.spec = strict
        assert fleet.effective(M, {1: 100})
    finally:
        fleet.run("down", "--yes")

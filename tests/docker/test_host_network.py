"""A single gateway on the host's own network: another one takes its place without a dropped request."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.cluster.live import Asked
from tests.docker.engine import ADDRESS, Engine
from tests.docker.live import DockerFleet, requests_to

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

M = "m"


@pytest.fixture
def fleet(engine: Engine, tmp_path: Path) -> Iterator[DockerFleet]:
    """Two replicas and one gateway, at ports of the host."""
    made = DockerFleet(tmp_path, engine, name="hosted")
    made.spec["gateway"] |= {"replicas": 1, "rest": 8401, "grpc": 8400, "network": "host"}
    made.spec["models"] = {M: {}}
    made.push(M, 1)
    yield made
    made.run("down", "--yes")
    assert made.containers() == []


def stream(models: dict[str, set[int]]) -> AbstractContextManager[Asked]:
    """Requests straight at the gateways' ports: nothing stands in front that would try again."""
    return requests_to(f"http://{ADDRESS}:8401", f"{ADDRESS}:8400", models)


def test_a_single_gateway_is_replaced_without_a_drop(fleet: DockerFleet) -> None:
    fleet.up()
    with stream({M: {1}}) as requests:
        fleet.spec["gateway"]["maxRequestBytes"] = 32 << 20
        done = fleet.up()
        assert "is the only gateway" not in done.err
        fleet.spec["gateway"]["replicas"] = 2
        fleet.up()
        fleet.spec["gateway"]["replicas"] = 1
        fleet.up()
    requests.check()
    assert len(fleet.containers("kind=gateway", "part=envoy")) == 1
    assert fleet.run("diff").out.startswith("fleet hosted is as")
    # Ports of its own need those of the host: it makes room, and back.
    fleet.spec["gateway"]["network"] = "bridge"
    assert "is the only gateway" not in fleet.up().err
    fleet.run("predict", M, "--example")
    fleet.spec["gateway"]["maxRequestBytes"] = 16 << 20
    closed = "hosted-gateway-1 is the only gateway: its ports are closed while it is renewed"
    assert f"warning: {closed}; with gateway.network: host they are not\n" in fleet.up().err
    fleet.spec["gateway"]["network"] = "host"
    fleet.up()
    fleet.run("predict", M, "--example")


def test_a_port_that_somebody_else_has(fleet: DockerFleet) -> None:
    with socket.create_server((ADDRESS, 8401)):
        error = fleet.up("-o", "json", code=1).document["error"]
        assert (error["message"], error["where"]) == (f"the port {ADDRESS}:8401 is in use", "hosted-gateway-1-envoy")
    fleet.up()

"""A fleet on the engine, end to end by the real command, under a stream of requests that counts every failure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.product import SERVER_IMAGE
from tests.docker.balancer import A_GATEWAY_GOES, CONNECTING
from tests.docker.engine import Engine
from tests.docker.live import DockerFleet
from tests.scenarios.live import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

M = "m"
OTHER_IMAGE = f"{SERVER_IMAGE}-other"


@pytest.fixture(scope="module")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerFleet]:
    """Two replicas and two gateways; model m serves version 1, and has two more in the store."""
    fleet = DockerFleet(tmp_path_factory.mktemp("shop"), engine)
    fleet.push(M, 1)
    fleet.spec["models"] = {M: {}}
    try:
        fleet.up()
        fleet.push(M, 2)
        fleet.push(M, 3)
        yield fleet
    finally:
        fleet.run("down", "--yes")
    assert fleet.containers() == []


@pytest.fixture
def fleet(shop: DockerFleet) -> DockerFleet:
    """The fleet, healthy, with version 1 or what the scenario before has left."""
    shop.healthy()
    return shop


def test_promote_and_rollback_drop_nothing(fleet: DockerFleet) -> None:
    with fleet.stream({M: {1}}) as requests:
        requests.now({M: {1, 2}})
        promoted = fleet.run("promote", M, "2", "-o", "json").document
        assert (promoted["from"], promoted["to"]) == (1, 2)
        requests.now({M: {2}})
        assert fleet.effective(M, {2: 100})
        requests.now({M: {1, 2}})
        fleet.run("rollback", M)
        requests.now({M: {1}})
        assert fleet.effective(M, {1: 100})
    requests.check()


@pytest.mark.parametrize(("kind", "part"), [("replica", "server"), ("replica", "agent"), ("gateway", "agent"),
                                            ("gateway", "envoy"), ("state", "state")])  # fmt: skip
def test_killed_container(fleet: DockerFleet, kind: str, part: str) -> None:
    """The engine starts it again, and no request fails."""
    victim = fleet.containers(f"kind={kind}", f"part={part}")[0]
    before = fleet.restarts(victim)
    with fleet.stream({M: {1}}, retry_on=A_GATEWAY_GOES if part == "envoy" else "") as requests:
        fleet.kill(victim)
        eventually(lambda: fleet.restarts(victim) > before, "a restart")
        fleet.healthy()
    requests.check()


@pytest.mark.parametrize(("kind", "part"), [("replica", "server"), ("replica", "agent"), ("gateway", "agent"),
                                            ("gateway", "envoy"), ("state", "state")])  # fmt: skip
def test_removed_container_comes_back_with_up(fleet: DockerFleet, kind: str, part: str) -> None:
    before = fleet.containers()
    victim = fleet.containers(f"kind={kind}", f"part={part}")[0]
    with fleet.stream({M: {1}}, retry_on=A_GATEWAY_GOES if part == "envoy" else "") as requests:
        fleet.engine.docker("rm", "-f", victim)
        if kind != "state":
            assert victim.removesuffix(f"-{part}") in fleet.run("diff", code=3).out
        fleet.up()
        fleet.healthy()
    requests.check()
    assert fleet.containers() == before


def test_restarted_daemon(fleet: DockerFleet) -> None:
    """With live-restore the containers serve on while dockerd and containerd are gone, and are known again after.

    The engine lays the rules of published ports anew, and new connections to them are refused for that moment.
    """
    before = fleet.containers()
    with fleet.stream({M: {1}}, retry_on=CONNECTING) as requests:
        fleet.engine.kill_daemon()
        said = fleet.run("status", code=1).err
        assert "the Docker engine does not answer" in said
        fleet.engine.start_daemon()
        fleet.healthy()
        assert fleet.run("diff").code == 0
    requests.check()
    assert fleet.containers() == before


def test_restarted_daemon_that_ends_its_containers(fleet: DockerFleet) -> None:
    """Without live-restore everything is away for a while, and comes back as it was."""
    before, generation = fleet.containers(), fleet.status()["generation"]
    history = fleet.run("history", "-o", "json").out
    fleet.engine.kill_daemon()
    fleet.engine.start_daemon(live_restore=False)
    # Whose setting was taken away ends what runs, and does not start it again; that takes hands, once.
    fleet.up()
    fleet.engine.end_daemon()
    fleet.engine.start_daemon()
    fleet.healthy()
    assert fleet.containers() == before
    assert fleet.status()["generation"] == generation
    assert fleet.run("history", "-o", "json").out == history
    assert fleet.run("diff").code == 0
    with fleet.stream({M: {1}}) as requests:
        fleet.run("predict", M, "--example")
    requests.check()


def test_removed_network_comes_back_with_up(fleet: DockerFleet) -> None:
    """Containers that run are put on it again; one that was stopped knows only the old one, and is made anew."""
    network, stopped = f"{fleet.name}-fleet", fleet.containers("kind=gateway", "part=agent")[0]
    before = fleet.containers()
    fleet.engine.docker("stop", stopped)
    for container in before:
        fleet.engine.docker("network", "disconnect", "--force", network, container)
    fleet.engine.docker("network", "rm", network)
    assert "is not on the fleet's network" in fleet.run("diff", code=3).out
    fleet.up()
    fleet.healthy()
    assert fleet.containers() == before
    with fleet.stream({M: {1}}) as requests:
        fleet.run("predict", M, "--example")
    requests.check()


def test_shape_changes_replace_one_at_a_time(fleet: DockerFleet) -> None:
    """Another image of the server and another limit of the gateways, and no request notices."""
    fleet.engine.docker("tag", SERVER_IMAGE, OTHER_IMAGE)
    before = {name: fleet.engine.docker("inspect", "--format={{.Id}}", name) for name in fleet.containers()}
    fleet.spec["serving"]["image"] = OTHER_IMAGE
    assert OTHER_IMAGE in fleet.run("diff", code=3).out
    with fleet.stream({M: {1}}) as requests:
        fleet.up()
    requests.check()
    fleet.spec["gateway"]["maxRequestBytes"] = 32 * 1024 * 1024
    with fleet.stream({M: {1}}, retry_on=A_GATEWAY_GOES) as requests:
        fleet.up()
    requests.check()
    after = {name: fleet.engine.docker("inspect", "--format={{.Id}}", name) for name in fleet.containers()}
    assert set(before.values()) & set(after.values()) == {before["shop-keeper"]}
    assert fleet.run("diff").out.startswith("fleet shop is as")


def test_scale_up_and_down(fleet: DockerFleet) -> None:
    with fleet.stream({M: {1}}) as requests:
        for count in (5, 3, 2):
            fleet.spec["serving"]["replicas"] = count
            fleet.up()
            assert len(fleet.containers("kind=replica", "part=server")) == count
    requests.check()


def test_bench_asks_a_gateway(fleet: DockerFleet) -> None:
    """From where the command runs, at the published ports."""
    document = fleet.run("bench", M, "--rate", "50", "--duration", "2s", "-o", "json").document
    assert (document["asked"], document["sent"], document["failed"]) == (100, 100, 0)
    assert document["p50_ms"] > 0


def test_pins_are_folded_once(fleet: DockerFleet) -> None:
    """A pinned version that is rolled back stays back until the file changes, whatever is applied again."""
    with fleet.stream({M: {1}}) as requests:
        requests.now({M: {1, 3}})
        fleet.spec["models"] = {M: {"version": 3}}
        fleet.up()
        assert fleet.effective(M, {3: 100})
        fleet.run("rollback", M, "--no-write")
        requests.now({M: {1}})
        fleet.up()
        assert fleet.effective(M, {1: 100})
    requests.check()

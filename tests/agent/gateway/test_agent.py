"""The gateway agent with a real Envoy: what it makes effective, what it keeps, and whom it tells."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.agent.gateway.fleet import GATEWAY, Fleet
from tests.gateway.harness import wait
from tests.gateway.load import load
from tfsdeploy.agent.status import GONE
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.protocol.agents import encode, etag
from tfsdeploy.release.model import ModelRelease, Rollout

ACTIVE = b'envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix="rest"} 1\n'

ONE = ModelRelease({7: None}, {7: 100}, main=7)
BOTH = replace(ONE, versions={7: None, 8: None})
TO_8 = replace(BOTH, traffic={8: 100}, from_={7: 100})
BACK = replace(BOTH, traffic={7: 100}, from_={8: 100}, opens="enough")


def serving(shop: Fleet, *versions: int) -> None:
    """Every replica has these versions of the model."""
    for one in shop.replicas:
        one.say(m=dict.fromkeys(versions, "AVAILABLE"))


def acknowledged(shop: Fleet, at: int) -> None:
    """Wait until the gateway has acknowledged what a replica says now."""
    one = shop.replicas[at]
    wait("an acknowledgement", lambda: one.acknowledged.get(GATEWAY) == etag(encode(one.status)))


def test_nothing_listens_before_everybody_was_heard(shop: Fleet) -> None:
    shop.replicas[1].fall_silent()
    serving(shop, 7)
    shop.start_agent()
    first = shop.until("an answer", lambda status: True)
    assert not first.ready
    assert not (shop.folder / "lds.json").exists()
    shop.release(m=ONE)
    shop.start_envoy()
    shop.until("ready", lambda status: status.ready)
    assert shop.versions() == {"7"}
    assert shop.names() == {"a"}


def test_traffic_moves_when_the_last_member_has_the_version(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.start()
    with load(shop.shape.rest_port, shop.shape.grpc_port) as stream:
        shop.replicas[1].say(m={7: "AVAILABLE", 8: "LOADING"})
        acknowledged(shop, 1)
        moved = shop.release(m=TO_8)
        shop.until("the barrier", lambda status: status.models["m"].waiting_for == {"b": "LOADING"})
        assert shop.versions() == {"7"}
        serving(shop, 7, 8)
        shop.until_effective(moved.generation, {8: 100})
        assert shop.versions() == {"8"}
        shop.until_effective(shop.release(m=replace(BOTH, traffic={7: 50, 8: 50})).generation, {7: 50, 8: 50})
        assert shop.versions() == {"7", "8"}
        shop.until_effective(shop.release(m=BACK).generation, {7: 100})
        assert shop.versions() == {"7"}
        stream.more(40)
    assert stream.failures == []


def test_a_replica_that_leaves_is_told_when_envoy_has_let_go(shop: Fleet) -> None:
    serving(shop, 7)
    shop.release(m=ONE)
    shop.start()
    with load(shop.shape.rest_port, shop.shape.grpc_port) as stream:
        shop.replicas[0].say(leaving=True, m={7: "AVAILABLE"})
        acknowledged(shop, 0)
        assert shop.replicas[0].status.rest.rpartition(":")[2] not in (shop.folder / "cds.json").read_text()
        assert shop.names() == {"b"}
        stream.more(40)
    assert stream.failures == []


def test_a_version_that_drains_is_let_go_of(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.start()
    shop.release(m=ONE)
    shop.replicas[0].say(m={7: "AVAILABLE", 8: "DRAINING"})
    acknowledged(shop, 0)
    assert shop.answer("/v1/models/m/versions/8:predict")["status"] != 200 or shop.names() == {"a", "b"}
    shop.replicas[1].say(m={7: "AVAILABLE", 8: "DRAINING"})
    acknowledged(shop, 1)
    assert shop.answer("/v1/models/m/versions/8:predict")["status"] == 404


def test_a_silent_replica_is_taken_out_and_comes_back(shop: Fleet) -> None:
    serving(shop, 7)
    shop.release(m=ONE)
    shop.start()
    shop.replicas[0].fall_silent()
    wait("only b answers", lambda: shop.names() == {"b"})
    shop.replicas[0].start()
    wait("both answer", lambda: shop.names() == {"a", "b"})


def test_a_gateway_that_nobody_stands_behind_is_not_ready(shop: Fleet) -> None:
    """As after a reboot: the table is remembered, but no replica has anything yet."""
    serving(shop, 7)
    shop.release(m=ONE)
    shop.start()
    for one in shop.replicas:
        one.say(m={7: "LOADING"})
    shop.until("not ready", lambda status: not status.ready)
    serving(shop, 7)
    shop.until("ready", lambda status: status.ready)


def test_an_agent_that_is_killed_changes_nothing(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.release(m=TO_8)
    shop.start()
    shop.until_effective(2, {8: 100})
    # A restarted agent may not pass this barrier any more; it was passed before.
    shop.replicas[1].say(m={7: "AVAILABLE", 8: "LOADING"})
    acknowledged(shop, 1)
    before = shop.files()
    assert set(before) == {"lds.json", "cds.json", "rds-rest.json", "rds-grpc.json"}
    with load(shop.shape.rest_port, shop.shape.grpc_port) as stream:
        assert shop.agent is not None
        shop.agent.kill()
        shop.agent.wait()
        stream.more(40)
        shop.start_agent()
        shop.until("ready", lambda status: status.ready)
        stream.more(40)
    assert stream.failures == []
    assert shop.files() == before
    shop.until_effective(2, {8: 100})


def test_an_agent_that_was_stopped_does_not_blame_the_replicas(shop: Fleet) -> None:
    serving(shop, 7)
    shop.release(m=ONE)
    shop.start()
    before = shop.files()
    assert shop.agent is not None
    shop.agent.send_signal(signal.SIGSTOP)
    with load(shop.shape.rest_port, shop.shape.grpc_port) as stream:
        stream.more(600)
        shop.agent.send_signal(signal.SIGCONT)
        found = shop.release(m=BOTH)
        shop.until_effective(found.generation, {7: 100})
        stream.more(40)
    assert stream.failures == []
    assert shop.names() == {"a", "b"}
    assert before["rds-rest.json"] != shop.files()["rds-rest.json"]


def test_an_envoy_that_is_killed_starts_from_the_files(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.start()
    assert shop.envoy is not None
    shop.envoy.kill()
    shop.envoy.wait()
    shop.until("not ready", lambda status: not status.ready)
    moved = shop.release(m=TO_8)
    # Nothing that is not acknowledged is told, though every file is in place.
    wait("the routes", lambda: b"m/8/rest" in (shop.folder / "rds-rest.json").read_bytes())
    shop.start_envoy()
    shop.until("ready", lambda status: status.ready)
    shop.until_effective(moved.generation, {8: 100})
    assert shop.versions() == {"8"}


def test_an_envoy_that_hangs_is_not_ready(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.start()
    assert shop.envoy is not None
    shop.envoy.send_signal(signal.SIGSTOP)
    moved = shop.release(m=TO_8)
    found = shop.until("not ready", lambda status: not status.ready)
    assert found.models["m"].traffic == {7: 100}
    shop.replicas[0].say(leaving=True, m={7: "AVAILABLE", 8: "AVAILABLE"})
    shop.envoy.send_signal(signal.SIGCONT)
    shop.until_effective(moved.generation, {8: 100})
    acknowledged(shop, 0)
    assert shop.names() == {"b"}
    shop.until("ready", lambda status: status.ready)


def test_a_release_that_is_nonsense_keeps_the_last_good_one(shop: Fleet) -> None:
    serving(shop, 7)
    shop.release(m=ONE)
    shop.start()
    document = shop.home / "release.json"
    good = document.read_text()
    for bad in ("{", json.dumps({**json.loads(good), "apiVersion": "tfsdeploy/v9", "generation": 9})):
        draft = shop.home / "draft"
        draft.write_text(bad)
        os.replace(draft, document)
        said = "apiVersion" if "v9" in bad else "JSONDecodeError"
        wait("the log says so", lambda said=said: said in shop.log())
    assert shop.versions() == {"7"}
    found = shop.ask("/metrics")
    assert found is not None
    assert b"tfsdeploy_gateway_invalid_releases_total 2.0" in found[1]
    assert b"envoy_cluster_upstream_rq" in found[1]
    # Started anew it has only what it kept.
    assert shop.agent is not None
    shop.agent.kill()
    shop.agent.wait()
    shop.start_agent()
    shop.until("ready", lambda status: status.ready)
    shop.replicas[0].say(leaving=True, m={7: "AVAILABLE"})
    acknowledged(shop, 0)
    assert shop.names() == {"b"}


def test_a_fleet_that_is_created_anew_is_followed(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.release(m=BOTH)
    shop.start()
    shop.release(uid="two", m=replace(BOTH, traffic={8: 100}))
    shop.until("generation 1", lambda status: status.generation == 1 and status.models["m"].traffic == {8: 100})
    assert shop.versions() == {"8"}


def test_pins_that_nobody_folded_are_folded_once(shop: Fleet) -> None:
    serving(shop, 7, 8)
    rollout = Rollout("x", 8, (100,), 0, "ann@desk")
    shop.release(m=replace(BOTH, rollout=rollout))
    shop.start()
    pins = Pins({"m": Pin(8, labels={"stable": 8})})
    (shop.home / "pins.json").write_text(json.dumps(pins.to_json()))
    wait("busy", lambda: "are not folded yet" in shop.log())
    shop.release(m=BOTH)
    shop.until_effective(3, {8: 100})
    release = shop.releases.read()
    assert release is not None
    assert (release.generation, release.pins) == (3, pins.digest)
    assert (release.change.who, release.change.command) == (f"gateway {GATEWAY}", f"pins {pins.digest}")
    assert release.models["m"].from_ == {7: 100}


def test_leaving_lets_the_last_requests_end(shop: Fleet) -> None:
    serving(shop, 7)
    shop.release(m=ONE)
    shop.start()
    assert shop.agent is not None
    shop.agent.send_signal(signal.SIGTERM)
    shop.until("leaving", lambda status: status.leaving and not status.ready)
    assert shop.agent.wait(60) == 0
    assert [one.acknowledged[GATEWAY] for one in shop.replicas] == [GONE, GONE]


def test_a_replica_that_is_found_no_more_is_told_too(shop: Fleet) -> None:
    """All of a fleet may be deleted at once, and in any order: nobody is to wait for a gateway that has left."""
    serving(shop, 7)
    shop.release(m=ONE)
    shop.start()
    shop.replicas[0].hide()
    wait("only b answers", lambda: shop.names() == {"b"})
    assert shop.replicas[0].acknowledged[GATEWAY] != GONE
    assert shop.agent is not None
    shop.agent.send_signal(signal.SIGTERM)
    assert shop.agent.wait(60) == 0
    assert [one.acknowledged[GATEWAY] for one in shop.replicas] == [GONE, GONE]


def test_leaves_and_comes_back_as_a_file_asks(shop: Fleet) -> None:
    """A container's preStop hook; what replicas said meanwhile is heard before clients come again."""
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.start()
    assert shop.ask("/startedz") == (200, b"started\n")
    assert shop.agent is not None
    assert shop.envoy is not None
    (shop.folder / "leave").touch()
    shop.until("leaving", lambda status: status.leaving and not status.ready)
    wait("the answer", (shop.folder / "left").exists)
    assert [one.acknowledged[GATEWAY] for one in shop.replicas] == [GONE, GONE]
    moved = shop.release(m=TO_8)
    shop.replicas[0].say(m={8: "AVAILABLE"})
    shop.replicas[1].say(leaving=True, m={7: "AVAILABLE", 8: "AVAILABLE"})
    shop.envoy.terminate()
    shop.envoy.wait()
    (shop.folder / "leave").unlink()
    shop.start_envoy()
    shop.until("back", lambda status: status.ready and not status.leaving)
    assert shop.names() == {"a"}
    assert shop.versions() == {"8"}
    assert not (shop.folder / "left").exists()
    shop.until_effective(moved.generation, {8: 100})
    shop.agent.send_signal(signal.SIGTERM)
    assert shop.agent.wait(60) == 0


def test_leaving_waits_for_the_longest_of_the_last_requests(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=BOTH)
    shop.start()
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(shop.answer, sleep=8)
        wait("the request on its way", lambda: ACTIVE in shop.ask("/metrics")[1])
        (shop.folder / "leave").touch()
        wait("the word that Envoy may end", (shop.folder / "left").exists)
        assert shop.envoy is not None
        shop.envoy.terminate()
        assert slow.result()["status"] == 200


def test_a_disk_that_refuses_is_tried_again(shop: Fleet) -> None:
    serving(shop, 7, 8)
    shop.release(m=ONE)
    shop.start()
    clusters = shop.folder / "cds.json"
    clusters.unlink()
    clusters.mkdir()
    found = shop.release(m=BOTH)
    wait("the log says so", lambda: "cannot be put in place" in shop.log())
    assert shop.versions() == {"7"}
    clusters.rmdir()
    shop.until_effective(found.generation, {7: 100})
    assert shop.answer("/v1/models/m/versions/8:predict")["status"] == 200

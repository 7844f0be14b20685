"""Parts that die or hang, alone and in the middle of a change."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from tests.scenarios.live import FULL_DISK, LiveFleet, eventually
from tests.scenarios.stream import stream


def test_replica_server_is_killed(fleet: LiveFleet, model: str) -> None:
    """A model server that dies loses nothing, and comes back with the same versions."""
    fleet.serve(model, 1)
    with stream(fleet, {model: {1}}) as requests:
        fleet.kill(fleet.servers()[0])
        eventually(lambda: list(fleet.state_of(model, 1).values()).count("AVAILABLE") == 3, "the replica again")
    requests.check()


def test_replica_agent_is_killed(fleet: LiveFleet, model: str) -> None:
    """An agent that dies changes nothing: its server serves, and the next agent says the same."""
    fleet.serve(model, 1)
    with stream(fleet, {model: {1}}) as requests:
        dead = fleet.replica_agents()[0]
        fleet.kill(dead)
        eventually(lambda: len(fleet.replica_agents()) == 3, "a new agent")
        fleet.healthy()
    requests.check()


def test_gateway_agent_is_killed(fleet: LiveFleet, model: str) -> None:
    """Envoy serves on without its agent; the next agent goes on where the last one was."""
    fleet.serve(model, 1, 2)
    with stream(fleet, {model: {1, 2}}) as requests:
        fleet.kill(fleet.gateway_agents()[0])
        fleet.promote(model, 2)
        requests.now(model, {2})
        fleet.healthy()
    requests.check()
    assert fleet.effective(model, {2: 100})


def test_one_of_two_envoys_is_killed(fleet: LiveFleet, model: str) -> None:
    """Only what was in flight inside it may fail; the other takes over."""
    fleet.serve(model, 1)
    with stream(fleet, {model: {1}}) as requests:
        fleet.kill(fleet.envoys()[0])
        eventually(lambda: len(fleet.envoys()) == 2, "a new Envoy")
        fleet.healthy()
    requests.check(lost_in_a_gateway=True)


def test_supervisor_is_killed(fleet: LiveFleet, model: str) -> None:
    """Everything runs on; `up` brings a supervisor that adopts what is there."""
    fleet.serve(model, 1, 2)
    with stream(fleet, {model: {1, 2}}) as requests:
        before = {p.pid for p in fleet.servers()}
        fleet.kill(fleet.supervisors()[0])
        assert any("no supervisor runs" in trouble for trouble in fleet.status()["troubles"])
        fleet.promote(model, 2)
        requests.now(model, {2})
        fleet.up()
        assert len(fleet.supervisors()) == 1
        assert {p.pid for p in fleet.servers()} == before
        fleet.kill(fleet.servers()[0])
        eventually(lambda: len(fleet.servers()) == 3, "the adopted server again")
    requests.check()


def test_server_is_killed_during_a_promote(fleet: LiveFleet, model: str) -> None:
    """A replica that dies while the new version loads joins again; nothing is dropped."""
    fleet.serve(model, 1)
    fleet.push(model, 2, "slow")  # answers 0
    with stream(fleet, {model: {1, 0}}) as requests:
        command = fleet.start("promote", model, "2", "-o", "json")
        eventually(lambda: "LOADING" in fleet.state_of(model, 2).values(), "the load")
        fleet.kill(fleet.servers()[0])
        out, err = command.communicate(timeout=120)
        requests.now(model, {0})
        assert command.returncode == 0, (out, err)
        fleet.healthy()
    requests.check()
    assert fleet.effective(model, {2: 100})


@pytest.mark.parametrize("part", ["replica_agents", "servers"])
def test_replica_hangs_during_a_rollback(fleet: LiveFleet, model: str, part: str) -> None:
    """Enough replicas are enough for a rollback."""
    fleet.serve(model, 1, 2)
    fleet.promote(model, 2)
    with stream(fleet, {model: {1, 2}}) as requests, fleet.hung(getattr(fleet, part)()[0]):
        fleet.rollback(model)
        requests.now(model, {1})
        assert fleet.effective(model, {1: 100})
    requests.check()


def test_replica_agent_hangs_during_a_promote(fleet: LiveFleet, model: str) -> None:
    """A replica that is silent is no member: the others decide, and it follows when it is back."""
    fleet.serve(model, 1, 2)
    with stream(fleet, {model: {1, 2}}) as requests:
        with fleet.hung(fleet.replica_agents()[0]):
            fleet.promote(model, 2)
            requests.now(model, {2})
        eventually(lambda: list(fleet.state_of(model, 2).values()).count("AVAILABLE") == 3, "the replica that hung")
    requests.check()


def test_replica_server_hangs_during_a_promote(fleet: LiveFleet, model: str) -> None:
    """A server that says nothing holds the new version up; traffic stays, and the same promote succeeds afterwards."""
    fleet.serve(model, 1, 2)
    with stream(fleet, {model: {1}}) as requests:
        server = fleet.servers()[0]
        with fleet.hung(server):
            held = fleet.promote(model, 2, "--timeout", "8", code=4).document
            assert Path(server.cwd()).name in json.dumps(held)
            assert fleet.effective(model, {1: 100})
        requests.now(model, {1, 2})
        fleet.promote(model, 2, "--yes")
        requests.now(model, {2})
        fleet.healthy()
    requests.check()


def test_gateway_agent_hangs_while_a_version_leaves(fleet: LiveFleet, model: str) -> None:
    """A gateway that does not say that it switched keeps everything that it may still send to."""
    fleet.serve(model, 1, 2, 3)
    fleet.promote(model, 2)
    with stream(fleet, {model: {1, 2, 3}}) as requests:
        with fleet.hung(fleet.gateway_agents()[0]):
            stuck = fleet.promote(model, 3, "--timeout", "6", code=None)
            assert stuck.code in (1, 4), stuck
            held = fleet.model(model)["versions"]
            assert "2" in held
        eventually(lambda: all(g["ready"] for g in fleet.status()["gateways"]), "the gateway again")
        fleet.promote(model, 3)
        requests.now(model, {3})
        fleet.healthy()
    requests.check()
    assert fleet.effective(model, {3: 100})


def test_replica_that_lost_previous(fleet: LiveFleet, model: str) -> None:
    """One replica without the version to go back to does not hold up a rollback."""
    fleet.serve(model, 1, 2)
    fleet.promote(model, 2)
    record = fleet.folder / "models" / model / "1" / "tfsdeploy.json"
    content = record.read_bytes()
    record.unlink()
    with stream(fleet, {model: {1, 2}}) as requests:
        fleet.spec["serving"]["replicas"] = 4
        fleet.up()
        lacking = ["AVAILABLE"] * 3 + ["FAILED"]
        eventually(lambda: sorted(fleet.state_of(model, 1).values()) == lacking, "the version where it was")
        fleet.rollback(model)
        requests.now(model, {1})
        assert fleet.effective(model, {1: 100})
        record.write_bytes(content)
        eventually(lambda: list(fleet.state_of(model, 1).values()).count("AVAILABLE") == 4, "the version everywhere")
        fleet.spec["serving"]["replicas"] = 3
        fleet.up()
    requests.check()


def test_disk_full_for_the_release(fleet: LiveFleet, model: str) -> None:
    """A release that cannot be written leaves the fleet as it was, and the command says so."""
    fleet.serve(model, 1, 2)
    words = ("promote", model, "2", "-o", "json")
    with stream(fleet, {model: {1}}) as requests:
        refused = fleet.run(*words, code=1, under=FULL_DISK)
    requests.check()
    assert "cannot be written" in refused.document["error"]["message"]
    assert fleet.effective(model, {1: 100})
    fleet.run(*words)
    assert fleet.effective(model, {2: 100})


@pytest.mark.parametrize("part", ["replicas", "gateways"])
def test_disk_full_for_the_agents(fleet: LiveFleet, model: str, part: str) -> None:
    """Agents that cannot write serve on as before; the promote says who holds it up, and goes on once there is room."""
    fleet.serve(model, 1, 2)
    agents = fleet.replica_agents() if part == "replicas" else fleet.gateway_agents()
    with stream(fleet, {model: {1, 2}}) as requests:
        with fleet.full_disk(*agents):
            held = fleet.promote(model, 2, "--timeout", "4", code=None)
            assert held.code in (1, 4), held
            assert fleet.effective(model, {1: 100})
        fleet.promote(model, 2, "--yes")
        requests.now(model, {2})
        fleet.status()
    requests.check()
    assert fleet.effective(model, {2: 100})
    fleet.healthy()


def test_everything_is_killed(fleet: LiveFleet, model: str) -> None:
    """After kill -9 of everything, as after a reboot, `up` brings the same release back."""
    fleet.serve(model, 1, 2)
    fleet.promote(model, 2)
    before = fleet.release()
    for process in fleet.supervisors() + fleet.processes():
        if process.is_running():
            process.kill()
    eventually(lambda: not [p for p in fleet.processes() if p.status() != psutil.STATUS_ZOMBIE], "nothing runs")
    fleet.up()
    assert fleet.release()["uid"] == before["uid"]
    assert fleet.effective(model, {2: 100})
    with stream(fleet, {model: {2}}, seconds=2) as requests:
        pass
    requests.check()


def test_store_is_away(fleet: LiveFleet, model: str) -> None:
    """A store that looks empty unloads nothing."""
    fleet.serve(model, 1)
    store = fleet.folder / "models"
    away = fleet.folder / "models.away"
    with stream(fleet, {model: {1}}, seconds=6) as requests:
        store.rename(away)
        fleet.run("status", code=None)
    away.rename(store)
    requests.check()

"""The shape changes: replicas, flags, gateways; several fleets; one bad model among many."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests import lite
from tests.scenarios.live import LiveFleet, eventually
from tests.scenarios.stream import stream


def test_scale_up_and_down(fleet: LiveFleet, model: str) -> None:
    """2 -> 5 -> 3 replicas, and no request notices."""
    fleet.serve(model, 1)
    with stream(fleet, {model: {1}}) as requests:
        for count in (2, 5, 3):
            fleet.spec["serving"]["replicas"] = count
            fleet.up()
            assert len(fleet.servers()) == count
            fleet.healthy()
    requests.check()


def test_replica_joins_during_a_promote(fleet: LiveFleet, model: str) -> None:
    """A replica that joins between two steps loads what the release says before it gets anything."""
    fleet.serve(model, 1, 2)
    with stream(fleet, {model: {1, 2}}) as requests:
        command = fleet.start("promote", model, "2", "--steps", "20,100", "--interval", "15s", "-o", "json")
        eventually(lambda: fleet.effective(model, {1: 80, 2: 20}), "the first step")
        fleet.spec["serving"]["replicas"] = 4
        fleet.up()
        out, err = command.communicate(timeout=120)
        requests.now(model, {2})
        assert command.returncode == 0, (out, err)
        fleet.spec["serving"]["replicas"] = 3
        fleet.up()
    requests.check()
    assert fleet.effective(model, {2: 100})


def test_server_flags_roll_one_replica_at_a_time(fleet: LiveFleet, model: str) -> None:
    """A changed flag replaces every replica, and no request notices."""
    fleet.serve(model, 1)
    before = {process.pid for process in fleet.servers()}
    with stream(fleet, {model: {1}}) as requests:
        fleet.spec["serving"]["flags"] = {"rest_api_timeout_in_ms": 20000}
        fleet.up()
    requests.check()
    servers = fleet.servers()
    assert len(servers) == 3
    assert before.isdisjoint(process.pid for process in servers)
    assert all("--rest_api_timeout_in_ms=20000" in process.cmdline() for process in servers)


def test_gateways_are_replaced(fleet: LiveFleet, model: str) -> None:
    """Gateways go one after the other on the same ports, and no request notices."""
    fleet.serve(model, 1)
    rest, grpc = fleet.rest, fleet.grpc
    before = {process.pid for process in fleet.envoys()}
    with stream(fleet, {model: {1}}) as requests:
        fleet.spec["gateway"]["maxRequestBytes"] = 32 * 1024 * 1024
        fleet.up()
    requests.check()
    assert before.isdisjoint(process.pid for process in fleet.envoys())
    assert (fleet.rest, fleet.grpc) == (rest, grpc)


def test_up_again_changes_nothing(fleet: LiveFleet) -> None:
    """What is as the file says is left alone."""
    fleet.up()
    before = {process.pid for process in fleet.processes()}
    generation = fleet.release()["generation"]
    fleet.up()
    assert fleet.run("diff", code=0).code == 0
    assert {process.pid for process in fleet.processes()} == before
    assert fleet.release()["generation"] == generation


def test_one_bad_model_among_ten_and_every_replica_restarted(fleet: LiveFleet, model: str) -> None:
    """A model that cannot load never takes a replica away from the others."""
    good = [f"{model}_{n}" for n in range(9)]
    for name in good:
        fleet.push(name, 1)
        fleet.spec["models"][name] = {}
    fleet.push(f"{model}_bad", 1, "broken")
    fleet.spec["models"][f"{model}_bad"] = {}
    fleet.up("--timeout", "15", code=None)
    eventually(lambda: all(fleet.effective(name, {1: 100}) for name in good), "the good ones")
    with stream(fleet, {name: {1} for name in good[:3]}) as requests:
        for server in fleet.servers():
            fleet.kill(server)
            eventually(
                lambda: all(list(fleet.state_of(name, 1).values()).count("AVAILABLE") == 3 for name in good),
                "the good ones everywhere",
            )
    requests.check()
    for name in [*good, f"{model}_bad"]:
        del fleet.spec["models"][name]
    fleet.up()


def test_two_fleets_side_by_side(own: Callable[..., LiveFleet]) -> None:
    """Two fleets of one user know nothing of each other; removing one leaves the other."""
    one = own("one")
    two = own("two", one.home)
    for fleet in (one, two):
        fleet.spec["serving"] |= {"replicas": 1, "minAvailable": 1}
        fleet.spec["gateway"]["replicas"] = 1
        fleet.serve("m", 1)
    with stream(one, {"m": {1}}) as requests:
        two.run("down", "--yes")
    requests.check()


def test_single_replica_rolls_without_a_drop(own: Callable[..., LiveFleet]) -> None:
    """With one replica the new one is there before the old one leaves."""
    fleet = own("single")
    fleet.spec["serving"] |= {"replicas": 1, "minAvailable": 1}
    fleet.spec["gateway"]["replicas"] = 1
    fleet.serve("m", 1, 2)
    with stream(fleet, {"m": {1}}) as requests:
        fleet.spec["serving"]["flags"] = {"rest_api_timeout_in_ms": 20000}
        fleet.up()
        requests.now("m", {1, 2})
        fleet.promote("m", 2)
        requests.now("m", {2})
        fleet.spec["gateway"]["maxRequestBytes"] = 32 * 1024 * 1024
        fleet.up()
    requests.check()


def test_up_outlives_its_terminal(own: Callable[..., LiveFleet]) -> None:
    """A terminal that is closed ends the command in it, and nothing of the fleet."""
    fleet = own("terminal")
    fleet.spec["serving"] |= {"replicas": 1, "minAvailable": 1}
    fleet.spec["gateway"]["replicas"] = 1
    fleet.serve("m", 1)
    fleet.down()
    outside, inside = pty.openpty()
    shell = ("setsid", "--ctty", "sh", "-c", '"$@"; echo "ended with $?"; cat', "sh")
    up = (sys.executable, "-m", "tfsdeploy", "up", "--timeout", "150")
    environment = fleet.environment()
    terminal = subprocess.Popen(
        [*shell, *up], cwd=fleet.folder, env=environment, stdin=inside, stdout=inside, stderr=inside
    )
    os.close(inside)
    shown = b""
    while b"ended with" not in shown:
        shown += os.read(outside, 4096)
    assert b"ended with 0" in shown, shown.decode()
    before = {process.pid for process in fleet.processes()}
    # The kernel tells all who have this terminal that it is gone.
    os.close(outside)
    assert terminal.wait(60) != 0
    with stream(fleet, {"m": {1}}, seconds=2) as requests:
        pass
    requests.check()
    assert {process.pid for process in fleet.processes()} == before


def test_the_name_belongs_to_one_file(own: Callable[..., LiveFleet], tmp_path: object) -> None:
    """The same fleet name from another file is refused."""
    fleet = own("mine")
    fleet.spec["serving"] |= {"replicas": 1, "minAvailable": 1}
    fleet.spec["gateway"]["replicas"] = 1
    fleet.serve("m", 1)
    other = fleet.folder / "other.yaml"
    other.write_text(fleet.file.read_text())
    refused = fleet.run("up", "-f", str(other), code=None)
    assert refused.code in (2, 5)
    assert str(fleet.file) in refused.err


def test_tflite_models_are_served_and_changed(own: Callable[..., LiveFleet], tmp_path: Path) -> None:
    """Versions that are TFLite models alone come and go as others do, by a flag in the fleet file."""
    fleet = own()
    fleet.spec["serving"] |= {"replicas": 1, "minAvailable": 1, "flags": {"prefer_tflite_model": True}}
    fleet.spec["gateway"]["replicas"] = 1
    fleet.write()
    for version in (1, 2):
        lite.write_half_plus_two(tmp_path / f"lite-{version}", offset=version)

    def answer() -> object:
        return json.loads(fleet.run("predict", "m", '{"instances": [1.0]}').out)["predictions"]

    fleet.run("push", "m", str(tmp_path / "lite-1"), "--version", "1")
    fleet.up()
    assert answer() == [1.5]
    fleet.run("push", "m", str(tmp_path / "lite-2"), "--version", "2")
    fleet.promote("m", 2)
    assert answer() == [2.5]
    fleet.rollback("m")
    assert answer() == [1.5]
    for protocol in ((), ("--grpc",)):
        fleet.run("predict", "m", "--example", *protocol)

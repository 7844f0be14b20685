"""Whose a name and a port are, what a shape is made of, and what is left when a fleet goes."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.targets.local.conftest import Bench, eventually
from tfsdeploy import __version__
from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.processes import is_alive
from tfsdeploy.report import Silent
from tfsdeploy.targets.local.daemon import environment
from tfsdeploy.targets.local.place import Places
from tfsdeploy.targets.local.shape import shape
from tfsdeploy.targets.local.state import FleetFolder, fleet_names, home_folder
from tfsdeploy.targets.local.target import LocalTarget
from tfsdeploy.targets.plan import Kind


def fleet_of(name: str = "shop", file: str = "fleet.yaml", **parts: Any) -> Fleet:
    document = {
        "apiVersion": "tfsdeploy/v1",
        "kind": "Fleet",
        "name": name,
        "store": "file:///models",
        "gateway": {"rest": 0, "grpc": 0},
        "models": {"m": {}},
        **parts,
    }
    return parse_fleet(json.dumps(document), file)


def test_a_name_belongs_to_one_file(tmp_path: Path) -> None:
    LocalTarget("shop", tmp_path).prepare(fleet_of(file="/a/fleet.yaml"), Silent())
    other = LocalTarget("shop", tmp_path)
    theirs = pytest.raises(UsageError, match=r"belongs to another file: /a/fleet\.yaml")
    with theirs, other.exclusive(fleet_of(), Silent()):
        pass
    with pytest.raises(UsageError, match="belongs to another file"):
        other.changes(fleet_of())
    assert fleet_names(tmp_path) == ["shop"]


def test_a_second_up_of_one_fleet_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    fleet = fleet_of()
    first, second = LocalTarget("shop", tmp_path), LocalTarget("shop", tmp_path)
    with first.exclusive(fleet, Silent()):
        first.prepare(fleet, Silent())
        with pytest.raises(Busy, match="is being changed by process"), second.exclusive(fleet, Silent()):
            pass
        with pytest.raises(Busy):
            second.remove(Silent(), timeout=1)
    with second.exclusive(fleet, Silent()):
        pass


def test_a_busy_gateway_port_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fleet = fleet_of(gateway={"rest": port, "grpc": 0})
        target = LocalTarget("shop", tmp_path / "home")
        in_use = rf"port {port} of 127\.0\.0\.1 is in use by \S+ \(process \d+\)"
        with pytest.raises(TfsdeployError, match=in_use) as busy, target.exclusive(fleet, Silent()):
            target.prepare(fleet, Silent())
    assert busy.value.where == "gateway.rest"
    assert not (tmp_path / "home").exists()


def test_a_port_of_another_fleet_is_refused_although_nobody_listens(tmp_path: Path) -> None:
    one = fleet_of("one")
    LocalTarget("one", tmp_path).prepare(one, Silent())
    folder = FleetFolder(tmp_path, "one")
    Places(folder, one).make("gateway", "one-gateway-1", 1)
    (address,) = folder.gateways()
    port = int(address.rest.rpartition(":")[2])
    with pytest.raises(TfsdeployError, match=f"port {port} belongs to fleet one"):
        LocalTarget("two", tmp_path).prepare(fleet_of("two", gateway={"rest": port, "grpc": 0}), Silent())


def test_chosen_gateway_ports_stay_and_units_get_ports_of_their_own(tmp_path: Path) -> None:
    fleet = fleet_of()
    LocalTarget("shop", tmp_path).prepare(fleet, Silent())
    folder = FleetFolder(tmp_path, "shop")
    places = Places(folder, fleet)
    chosen = folder.numbers("ports")
    places.claim_gateway_ports()
    assert folder.numbers("ports") == chosen
    for kind, name, ordinal in (("gateway", "g1", 1), ("gateway", "g2", 2), ("replica", "r1", 1), ("replica", "r2", 2)):
        places.make(kind, name, ordinal)  # type: ignore[arg-type]
    g1, g2, r1, r2 = (folder.units()[name].ports for name in ("g1", "g2", "r1", "r2"))
    assert {name: g1[name] for name in chosen} == {name: g2[name] for name in chosen} == chosen
    own = [g1["agent"], g2["agent"], *r1.values(), *r2.values(), *chosen.values()]
    assert len(set(own)) == len(own)
    assert [address.name for address in folder.replicas()] == ["r1", "r2"]


def test_a_unit_whose_ports_others_took_over_a_reboot_is_forgotten(tmp_path: Path) -> None:
    fleet = fleet_of(serving={"replicas": 2})
    LocalTarget("shop", tmp_path).prepare(fleet, Silent())
    folder = FleetFolder(tmp_path, "shop")
    places = Places(folder, fleet)
    places.make("replica", "shop-serving-1", 1)
    places.make("replica", "shop-serving-2", 2)
    with socket.create_server(("127.0.0.1", folder.units()["shop-serving-1"].ports["grpc"])):
        places.forget_lost_units()
    assert list(folder.units()) == ["shop-serving-2"]
    assert "start   replica shop-serving-3: 2 replicas wanted, 1 there" in LocalTarget("shop", tmp_path).changes(fleet)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, set()),
        ({"models": {"m": {"version": 3}}}, set()),
        ({"serving": {"replicas": 3, "minAvailable": 1}}, set()),
        ({"serving": {"flags": {"rest_api_timeout_in_ms": 5}}}, {"replica"}),
        ({"serving": {"server": "embedded-like-tfs"}}, {"replica"}),
        ({"serving": {"batching": {"maxBatchSize": 32}}}, {"replica"}),
        ({"store": "file:///other"}, {"replica"}),
        ({"gateway": {"rest": 9000, "grpc": 0}}, {"gateway"}),
        ({"gateway": {"rest": 0, "grpc": 0, "maxRequestBytes": 2000000}}, {"gateway"}),
        ({"serving": {"keep": 2}}, {"gateway"}),
    ],
)
def test_a_shape_changes_with_what_it_is_made_of_and_nothing_else(change: dict[str, Any], differs: set[str]) -> None:
    before = fleet_of(serving={"minAvailable": 1})
    changed = fleet_of(**{"serving": {"minAvailable": 1}, **_with_floor(change)})
    found = {kind for kind in ("replica", "gateway") if shape(before, kind) != shape(changed, kind)}
    assert found == differs


@pytest.mark.parametrize("kind", ["replica", "gateway"])
def test_an_upgrade_of_this_program_changes_every_shape(kind: Kind) -> None:
    assert f"tfsdeploy {__version__}" in shape(fleet_of(), kind)


def _with_floor(change: dict[str, Any]) -> dict[str, Any]:
    """The same floor for rollbacks in every case: it is part of a gateway's shape."""
    return {**change, "serving": {"minAvailable": 1, **change["serving"]}} if "serving" in change else change


def test_a_model_server_that_is_not_there_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = LocalTarget("shop", tmp_path / "home")
    with pytest.raises(UsageError, match="there is no program /opt/nowhere/tensorflow_model_server"):
        target.prepare(fleet_of(serving={"server": "/opt/nowhere/tensorflow_model_server"}), Silent())
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(TfsdeployError, match="needs tensorflow, which is not installed"):
        target.prepare(fleet_of(), Silent())
    assert not (tmp_path / "home").exists()


def test_batching_is_written_for_the_server(tmp_path: Path) -> None:
    fleet = fleet_of(serving={"batching": {"maxBatchSize": 32, "batchTimeoutMicros": 1000}})
    LocalTarget("shop", tmp_path).prepare(fleet, Silent())
    folder = FleetFolder(tmp_path, "shop")
    Places(folder, fleet).make("replica", "shop-serving-1", 1)
    file = folder.unit("replica", "shop-serving-1") / "batching.config"
    assert file.read_text() == "max_batch_size { value: 32 }\nbatch_timeout_micros { value: 1000 }\n"
    server = folder.units()["shop-serving-1"].processes[1]
    assert {"--enable_batching=true", f"--batching_parameters_file={file}"} < set(server.argv)


def test_processes_get_a_small_environment() -> None:
    wanted = {"PATH": "/bin", "HOME": "/root", "TF_CPP_MIN_LOG_LEVEL": "2", "LC_ALL": "C"}
    kept = environment({**wanted, "AWS_SECRET_ACCESS_KEY": "x"})
    assert kept.keys() - {"PYTHONPATH"} == wanted.keys()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TFSDEPLOY_HOME": "/srv/fleets"}, "/srv/fleets"),
        ({"XDG_STATE_HOME": "/srv/state"}, "/srv/state/tfsdeploy"),
        ({}, str(Path.home() / ".local/state/tfsdeploy")),
    ],
)
def test_home_folder(variables: dict[str, str], expected: str) -> None:
    assert str(home_folder(variables)) == expected


def test_pins_come_back_as_they_were_handed_over(tmp_path: Path) -> None:
    target = LocalTarget("shop", tmp_path)
    assert target.pins() is None
    target.prepare(fleet_of(), Silent())
    pins = Pins({"m": Pin(3, None, {"stable": 3})})
    target.write_pins(pins)
    assert target.pins() == pins


def test_removing_ends_what_is_left_of_a_fleet_whose_supervisor_is_dead(bench: Bench) -> None:
    home = bench.folder.parent / "home"
    target = LocalTarget("shop", home)
    target.prepare(fleet_of(), Silent())
    bench.folder = target.folder
    bench.unit(bench.process("agent", "import time; time.sleep(600)"))
    bench.start()
    agent = bench.running("agent")
    bench.kill()
    target = LocalTarget("shop", home)
    assert is_alive(agent)
    target.remove(Silent(), timeout=30)
    eventually(lambda: not is_alive(agent), "the leftover ends")
    assert not home.exists()
    target.remove(Silent(), timeout=5)


def test_logs_of_what_is_there_and_of_what_is_named(tmp_path: Path) -> None:
    fleet = fleet_of()
    target = LocalTarget("shop", tmp_path)
    target.prepare(fleet, Silent())
    Places(FleetFolder(tmp_path, "shop"), fleet).make("replica", "shop-serving-2", 2)
    for name in ("shop-serving-1.agent", "shop-serving-2.agent", "shop-serving-2.server"):
        (target.folder / "logs" / f"{name}.log").write_text(f"first of {name}\nlast of {name}\n")
    assert list(target.logs((), follow=False, tail=1)) == [
        "shop-serving-2.agent: last of shop-serving-2.agent",
        "shop-serving-2.server: last of shop-serving-2.server",
    ]
    assert list(target.logs(("shop-serving-1",), follow=False, tail=5)) == [
        "shop-serving-1.agent: first of shop-serving-1.agent",
        "shop-serving-1.agent: last of shop-serving-1.agent",
    ]
    with pytest.raises(UsageError, match="no log of 'shop-serving-3'") as unknown:
        list(target.logs(("shop-serving-3",), follow=False, tail=1))
    assert "shop-serving-1, shop-serving-2" in unknown.value.hint

"""Promote and rollback against a small fleet that keeps real state."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.small_fleet import SmallFleet, small_fleet
from tfsdeploy.deploy.owner import this_process
from tfsdeploy.deploy.rollback import rollback
from tfsdeploy.deploy.rollout import Promotion, already, promote
from tfsdeploy.errors import Busy, Refused, TfsdeployError
from tfsdeploy.protocol.agents import ReplicaStatus
from tfsdeploy.release.model import ModelRelease, Rollout
from tfsdeploy.release.transitions import begin, shift
from tfsdeploy.release.update import Author
from tfsdeploy.report import Silent

AUTHOR = Author("ops@here", "promote ranker 2")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with small_fleet(tmp_path) as running:
        yield running


def passes(_: ReplicaStatus) -> str | None:
    return None


def asked_for(**other: Any) -> Promotion:
    values: dict[str, Any] = {"steps": (100,), "interval": 0.0, "digest": "sha256:2", "keep": 1, "timeout": 60.0}
    return Promotion("ranker", 2, **(values | other))


def test_promote_moves_all_traffic_and_keeps_the_previous_version_hot(fleet: SmallFleet) -> None:
    done = promote(fleet, asked_for(), passes, AUTHOR, Silent())
    model = fleet.model("ranker")
    assert (done.from_, done.to, done.generation) == (1, 2, 4)
    assert (model.traffic, model.previous, model.rollout) == ({2: 100}, 1, None)
    assert set(model.versions) == {1, 2}
    assert already(model, 2, (100,))


def test_rollback_goes_back_in_one_generation(fleet: SmallFleet) -> None:
    promote(fleet, asked_for(), passes, AUTHOR, Silent())
    done = rollback(fleet, "ranker", AUTHOR, Silent())
    assert (done.from_, done.to, done.generation) == (2, 1, 5)
    assert fleet.model("ranker").rejected == {2}
    with pytest.raises(Refused, match="no version to go back to"):
        rollback(fleet, "ranker", AUTHOR, Silent())


def test_steps_are_taken_one_after_the_other(fleet: SmallFleet) -> None:
    promote(fleet, asked_for(steps=(10, 50, 100), interval=0.01), passes, AUTHOR, Silent())
    befores = [entry.change.before.get("ranker") for entry in fleet.releases().history()]
    splits = [before.traffic for before in befores if before]
    assert splits[::-1] == [{1: 100}, {1: 100}, {1: 90, 2: 10}, {1: 50, 2: 50}, {2: 100}]


def test_a_canary_stays(fleet: SmallFleet) -> None:
    promote(fleet, asked_for(steps=(10,)), passes, AUTHOR, Silent())
    model = fleet.model("ranker")
    assert (model.traffic, model.main, model.rollout) == ({1: 90, 2: 10}, 1, None)
    assert already(model, 2, (10,))
    done = rollback(fleet, "ranker", AUTHOR, Silent())
    assert (done.from_, done.to) == (2, 1)


def test_a_version_that_cannot_load_is_taken_out(fleet: SmallFleet) -> None:
    fleet.broken["shop-serving-2", 2] = "Op type not registered 'Frobnicate'"
    with pytest.raises(Refused, match="shop-serving-2: Op type not registered 'Frobnicate'") as refused:
        promote(fleet, asked_for(), passes, AUTHOR, Silent())
    assert "traffic never moved" in refused.value.message
    model = fleet.model("ranker")
    assert (dict(model.versions), model.traffic, model.rollout) == ({1: None}, {1: 100}, None)


def test_a_gate_that_fails_takes_the_version_out(fleet: SmallFleet) -> None:
    def fails_on_3(status: ReplicaStatus) -> str | None:
        return "NaN in output y" if status.replica == "shop-serving-3" else None

    with pytest.raises(Refused, match="shop-serving-3: the gate failed: NaN in output y"):
        promote(fleet, asked_for(), fails_on_3, AUTHOR, Silent())
    assert fleet.model("ranker").traffic == {1: 100}


def test_a_version_that_never_gets_ready_is_taken_out(fleet: SmallFleet) -> None:
    fleet.slow.add(("shop-serving-1", 2))
    with pytest.raises(Refused, match=r"not available after 3 s: shop-serving-1: LOADING"):
        promote(fleet, asked_for(timeout=3.0), passes, AUTHOR, Silent())
    assert fleet.model("ranker").rollout is None


def test_a_gateway_that_does_not_switch_keeps_everything_loaded(fleet: SmallFleet) -> None:
    def gateway_hangs(_: ReplicaStatus) -> str | None:
        fleet.stuck.add("shop-gateway-2")
        return None

    with pytest.raises(TfsdeployError, match="switched on 1 of 2") as failed:
        promote(fleet, asked_for(timeout=3.0), gateway_hangs, AUTHOR, Silent())
    assert failed.value.exit_code == 1
    assert set(fleet.model("ranker").versions) == {1, 2}
    fleet.stuck.clear()
    promote(fleet, asked_for(), passes, AUTHOR, Silent())
    assert fleet.model("ranker").rollout is None


def test_gateways_that_are_not_settled_refuse_a_promote(fleet: SmallFleet) -> None:
    fleet.stuck.add("shop-gateway-1")
    before = fleet.write(ranker=ModelRelease(versions={1: None, 3: None}, traffic={3: 100}, main=3))
    with pytest.raises(Refused, match="shop-gateway-1: has not switched yet"):
        promote(fleet, asked_for(timeout=3.0), passes, AUTHOR, Silent())
    assert fleet.releases().read() == before


def left_by_a_killed_command(model: ModelRelease, by: str, written: int) -> ModelRelease:
    rollout = Rollout(id="killed", to=2, steps=(30, 100), step=0, by=by)
    state = begin(model, rollout, "sha256:2", keep=1)
    for share in rollout.steps[:written]:
        state = shift(state, share)
    return state


@pytest.mark.parametrize("written", [0, 1, 2])
def test_the_same_command_continues_what_a_killed_one_left(fleet: SmallFleet, written: int) -> None:
    dead = this_process().replace("start ", "start 9")
    fleet.write(ranker=left_by_a_killed_command(fleet.model("ranker"), dead, written))
    promote(fleet, asked_for(steps=(30, 100)), passes, AUTHOR, Silent())
    assert (fleet.model("ranker").traffic, fleet.model("ranker").rollout) == ({2: 100}, None)


def test_another_promote_is_busy_unless_it_insists(fleet: SmallFleet) -> None:
    fleet.write(ranker=left_by_a_killed_command(fleet.model("ranker"), "ann@elsewhere pid 1 start 2 boot x", 1))
    left = fleet.releases().read()
    for other in (replace(asked_for(), to=3), asked_for(steps=(50, 100))):
        with pytest.raises(Busy, match="version 2 that was not finished, by ann@elsewhere") as refused:
            promote(fleet, other, passes, AUTHOR, Silent())
        assert "`tfsdeploy promote ranker 2 --steps 30,100` continues it" in refused.value.hint
    assert fleet.releases().read() == left
    promote(fleet, replace(asked_for(), to=3, take_over=True), passes, AUTHOR, Silent())
    assert fleet.model("ranker").traffic == {3: 100}


def test_a_rollback_wins_over_a_promote(fleet: SmallFleet) -> None:
    errors: list[TfsdeployError] = []

    def run() -> None:
        try:
            promote(fleet, asked_for(steps=(10, 100), interval=60), passes, AUTHOR, Silent())
        except TfsdeployError as error:
            errors.append(error)

    promoting = threading.Thread(target=run)
    promoting.start()
    while fleet.model("ranker").traffic != {1: 90, 2: 10}:
        promoting.join(0.01)
    rollback(fleet, "ranker", AUTHOR, Silent())
    promoting.join(60)
    assert [type(error) for error in errors] == [Busy]
    assert fleet.model("ranker").traffic == {1: 100}


def test_a_hung_replica_delays_neither(fleet: SmallFleet) -> None:
    fleet.replica_servers["shop-serving-3"].hung = True
    fleet.slow.add(("shop-serving-3", 2))
    promote(fleet, asked_for(), passes, AUTHOR, Silent())
    done = rollback(fleet, "ranker", AUTHOR, Silent())
    assert done.to == 1


def test_rollback_says_where_it_is_not_effective(fleet: SmallFleet) -> None:
    promote(fleet, asked_for(), passes, AUTHOR, Silent())
    fleet.stuck.add("shop-gateway-2")
    with pytest.raises(TfsdeployError, match="effective on 1 of 2 gateways"):
        rollback(fleet, "ranker", AUTHOR, Silent(), timeout=3.0)
    assert fleet.model("ranker").traffic == {1: 100}

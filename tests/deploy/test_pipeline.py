"""`up` over a fleet whose shape is as wanted: what it does to the release, and what it waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.small_fleet import SmallFleet
from tfsdeploy.deploy.pipeline import Differences, Outcome, differences, up
from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.release.transitions import add, rollback
from tfsdeploy.report import Report, Silent


class Settled(SmallFleet):
    """Its replicas and gateways are there already."""

    def exclusive(self, fleet: Fleet, report: Report) -> AbstractContextManager[None]:
        return nullcontext()

    def prepare(self, fleet: Fleet, report: Report) -> None:
        pass

    def changes(self, fleet: Fleet) -> tuple[str, ...]:
        return ()

    def apply(self, fleet: Fleet, report: Report, *, timeout: float) -> None:
        pass

    def logs(self, names: tuple[str, ...], *, follow: bool, tail: int) -> Iterator[str]:
        yield from ()

    def remove(self, report: Report, *, timeout: float) -> None:
        pass


class Shelf:
    """A store with versions 1 and 2 of everything."""

    def newest(self, model_name: str) -> int | None:
        return 2

    def versions(self, model_name: str) -> tuple[int, ...] | None:
        return (1, 2)

    def digest(self, model_name: str, version: int) -> str | None:
        return f"sha256:{version}"


def fleet(models: dict[str, Any], keep: int = 1) -> Fleet:
    serving = {"replicas": 3, "minAvailable": 2, "keep": keep}
    document = {
        "apiVersion": "tfsdeploy/v1",
        "kind": "Fleet",
        "name": "shop",
        "store": "file:///models",
        "serving": serving,
        "models": models,
    }
    return parse_fleet(json.dumps(document), "fleet.yaml")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Settled]:
    small = Settled(tmp_path)
    small.write(ranker=add(1, None))
    with small.running():
        yield small


def bring_up(live: Settled, wanted: Fleet, timeout: float = 60.0) -> Outcome:
    return up(wanted, live, Shelf(), Silent(), timeout=timeout)


def test_a_new_model_is_added_and_waited_for(live: Settled) -> None:
    done = bring_up(live, fleet({"ranker": {}, "other": {}}))
    assert live.model("other").traffic == {2: 100}
    assert all(gateway["other"].traffic == {2: 100} for gateway in live.effective.values())
    assert done.changes == ("model other: added with version 2, the newest that is committed",)
    assert live.pins() == fleet({"ranker": {}, "other": {}}).pins()


def test_pins_that_are_nonsense_are_written_anew(live: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> None:
        raise TfsdeployError("the pins cannot be read")

    with monkeypatch.context() as spoiled:
        spoiled.setattr(live, "pins", unreadable)
        bring_up(live, fleet({"ranker": {}}))
    assert live.pins() == fleet({"ranker": {}}).pins()


def test_up_again_writes_nothing(live: Settled) -> None:
    first = bring_up(live, fleet({"ranker": {}}))
    again = bring_up(live, fleet({"ranker": {}}))
    assert again.generation == first.generation
    assert again.changes == ()


def test_a_changed_pin_is_folded_and_settled(live: Settled) -> None:
    assert differences(fleet({"ranker": {"version": 2}}), live, Shelf()).changes
    bring_up(live, fleet({"ranker": {"version": 2}}))
    model = live.model("ranker")
    assert (model.traffic, model.from_, model.previous, sorted(model.versions)) == ({2: 100}, None, 1, [1, 2])
    assert differences(fleet({"ranker": {"version": 2}}), live, Shelf()) == Differences((), ())


def test_what_is_beyond_keep_leaves_when_the_pin_is_effective(live: Settled) -> None:
    bring_up(live, fleet({"ranker": {"version": 2}}, keep=0))
    assert sorted(live.model("ranker").versions) == [2]


def test_a_gateway_that_does_not_switch_is_told_and_nothing_is_taken_away(live: Settled) -> None:
    live.stuck.add("shop-gateway-2")
    with pytest.raises(TfsdeployError, match="not everything serves after 3 s: model ranker: has not switched yet"):
        bring_up(live, fleet({"ranker": {"version": 2}}, keep=0), timeout=3)
    assert sorted(live.model("ranker").versions) == [1, 2]
    live.stuck.clear()
    bring_up(live, fleet({"ranker": {"version": 2}}, keep=0))
    assert sorted(live.model("ranker").versions) == [2]


def test_what_a_rollback_left_hot_stays_hot(live: Settled) -> None:
    bring_up(live, fleet({"ranker": {"version": 2}}))
    live.write(ranker=rollback(live.model("ranker")))
    back = bring_up(live, fleet({"ranker": {"version": 2}}))
    assert (live.model("ranker").traffic, sorted(live.model("ranker").versions)) == ({1: 100}, [1, 2])
    assert len(back.warnings) == 1
    assert differences(fleet({"ranker": {"version": 2}}), live, Shelf()) == Differences((), back.warnings)
    assert bring_up(live, fleet({"ranker": {"version": 2}})).generation == back.generation


def test_a_version_that_cannot_load_is_told_in_the_replicas_own_words(live: Settled) -> None:
    live.broken["shop-serving-1", 2] = "NOT_FOUND: no such op"
    with pytest.raises(TfsdeployError, match="shop-serving-1: NOT_FOUND: no such op"):
        bring_up(live, fleet({"ranker": {"version": 2}}), timeout=3)
    assert all(gateway["ranker"].traffic == {1: 100} for gateway in live.effective.values())


def test_a_refused_up_changes_nothing(live: Settled) -> None:
    before = live.releases().read()
    with pytest.raises(UsageError, match="version 9 is pinned"):
        bring_up(live, fleet({"ranker": {"version": 9}}))
    assert live.releases().read() == before
    assert live.pins() is None

"""What an `up` changes in the release, from fleet files and releases as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tfsdeploy.deploy.plan import ReleasePlan, release_plan
from tfsdeploy.errors import Busy, UsageError
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.release.model import Change, ModelRelease, Release, Rollout

NOTHING = Release("shop", "uid", 0, Change("", "", "", ""))


class Shelf:
    """A store that holds what it is told."""

    def __init__(self, **held: tuple[int, ...]) -> None:
        self.held = held

    def newest(self, model_name: str) -> int | None:
        return max(self.held.get(model_name, ()), default=None)

    def versions(self, model_name: str) -> tuple[int, ...] | None:
        return self.held.get(model_name, ())

    def digest(self, model_name: str, version: int) -> str | None:
        return f"sha256:{model_name}-{version}" if version in self.held.get(model_name, ()) else None


class Unreadable(Shelf):
    """A store that only the replicas can read."""

    def versions(self, model_name: str) -> tuple[int, ...] | None:
        return None


def fleet(models: Mapping[str, Any], keep: int = 1) -> Fleet:
    document = {
        "apiVersion": "tfsdeploy/v1",
        "kind": "Fleet",
        "name": "shop",
        "store": "file:///models",
        "serving": {"keep": keep},
        "models": models,
    }
    return parse_fleet(json.dumps(document), "fleet.yaml")


def after(release: Release, plan: ReleasePlan) -> Release:
    return release.next(plan.models, Change("me", "", "", "up"), pins=plan.pins)


def test_a_first_release_takes_pins_and_the_newest_versions() -> None:
    plan = release_plan(NOTHING, fleet({"a": {"version": 1}, "b": {}}), Shelf(a=(1, 2), b=(3, 5)))
    assert plan.models == {
        "a": ModelRelease({1: "sha256:a-1"}, {1: 100}, main=1),
        "b": ModelRelease({5: "sha256:b-5"}, {5: 100}, main=5),
    }
    assert plan.pins == fleet({"a": {"version": 1}, "b": {}}).pins().digest
    assert plan.lines == (
        "model a: added as pinned, traffic 1:100",
        "model b: added with version 5, the newest that is committed",
    )
    assert plan.warnings == ()


def test_a_model_without_a_version_waits_for_one() -> None:
    plan = release_plan(NOTHING, fleet({"b": {}}), Shelf())
    assert plan.models == {}
    assert plan.warnings == (
        "model b has no committed version in file:///models yet; push one and run `tfsdeploy up` again",
    )


def test_a_model_whose_first_promote_failed_gets_the_newest_version() -> None:
    release = replace(NOTHING, models={"m": ModelRelease({}, {})})
    assert release_plan(release, fleet({"m": {}}), Shelf(m=(1, 2))).models["m"] == ModelRelease(
        {2: "sha256:m-2"}, {2: 100}, main=2
    )


def test_the_same_file_again_changes_nothing() -> None:
    wanted = fleet({"a": {"version": 1, "labels": {"stable": 1}}, "b": {}})
    shelf = Shelf(a=(1,), b=(3,))
    release = after(NOTHING, release_plan(NOTHING, wanted, shelf))
    # A newer version in the store is promote's matter.
    assert release_plan(release, wanted, Shelf(a=(1,), b=(3, 4))) == ReleasePlan({}, None, (), ())


def test_a_model_that_left_the_file_leaves_the_release() -> None:
    shelf = Shelf(a=(1,), b=(3,))
    release = after(NOTHING, release_plan(NOTHING, fleet({"a": {}, "b": {}}), shelf))
    plan = release_plan(release, fleet({"a": {}}), shelf)
    assert plan.models == {"b": None}
    assert plan.lines == ("model b: removed, the fleet file does not name it any more",)


def test_a_changed_pin_moves_traffic_and_keeps_the_split_meanwhile() -> None:
    shelf = Shelf(a=(1, 2))
    release = after(NOTHING, release_plan(NOTHING, fleet({"a": {"version": 1}}), shelf))
    plan = release_plan(release, fleet({"a": {"version": 2}}), shelf, settled=frozenset({"a"}))
    model = plan.models["a"]
    assert model is not None
    assert (model.traffic, model.from_, model.previous) == ({2: 100}, {1: 100}, 1)
    assert model.versions == {1: "sha256:a-1", 2: "sha256:a-2"}
    assert plan.lines == ("model a: traffic 1:100 becomes traffic 2:100, as pinned",)


def test_what_was_changed_after_the_fold_stays_until_it_is_enforced() -> None:
    shelf = Shelf(a=(1, 2))
    wanted = fleet({"a": {"version": 2}})
    release = after(NOTHING, release_plan(NOTHING, wanted, shelf))
    live = replace(release.models["a"], versions={1: None, 2: "sha256:a-2"}, traffic={1: 100}, main=1)
    rolled_back = replace(release, models={"a": live})
    plan = release_plan(rolled_back, wanted, shelf)
    assert plan.models == {}
    (warning,) = plan.warnings
    assert "pins version 2" in warning
    assert "traffic 1:100 is live" in warning
    enforced = release_plan(rolled_back, wanted, shelf, enforce_pins=True).models["a"]
    assert enforced is not None
    assert enforced.traffic == {2: 100}


def test_a_pinned_version_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="model a: version 7 is pinned") as refused:
        release_plan(NOTHING, fleet({"a": {"version": 7}}), Shelf(a=(5, 6)))
    assert "committed: 5, 6" in refused.value.hint


def test_a_store_that_only_the_replicas_can_read_refuses_nothing() -> None:
    model = release_plan(NOTHING, fleet({"a": {"version": 7}}), Unreadable()).models["a"]
    assert model is not None
    assert model.versions == {7: None}


def test_a_model_that_belongs_to_a_command_is_not_taken_away() -> None:
    shelf = Shelf(a=(1,))
    release = after(NOTHING, release_plan(NOTHING, fleet({"a": {}}), shelf))
    busy = replace(release.models["a"], rollout=Rollout("id", 2, (100,), 0, "ops@host pid 1"))
    with pytest.raises(Busy, match="ops@host"):
        release_plan(replace(release, models={"a": busy}), fleet({"b": {}}), shelf)


def test_unpinning_changes_nothing_but_the_remembered_pins() -> None:
    shelf = Shelf(a=(1,))
    release = after(NOTHING, release_plan(NOTHING, fleet({"a": {"version": 1}}), shelf))
    plan = release_plan(release, fleet({"a": {}}), shelf)
    assert plan.models == {}
    assert plan.pins == fleet({"a": {}}).pins().digest
    assert plan.lines == ()

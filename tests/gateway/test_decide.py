"""The gateway's decision: a table of cases in files, and properties over every release and set of statuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.gateway.decide import decide
from tfsdeploy.gateway.table import Endpoint, Table
from tfsdeploy.protocol.agents import GatewayModel, ReplicaStatus, State, VersionStatus
from tfsdeploy.release.model import Change, ModelRelease, Release

CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted((Path(__file__).parents[1] / "cases" / "gateway").glob("*.yaml"))
    for case in yaml.safe_load(file.read_text())
]

GENERATION = 12


@pytest.mark.parametrize("case", CASES)
def test_decides_as_the_case_says(case: dict[str, Any]) -> None:
    statuses = {name: replica(name, plain) for name, plain in case["replicas"].items()}
    previous = {"m": GatewayModel(5, case["effective"])} if "effective" in case else {}
    decision = decide(a_release({"m": model(case["model"])}), statuses, previous, case.get("min_available", 1))
    found, table = decision.models["m"], decision.table.models["m"]
    assert {
        "traffic": dict(found.traffic),
        "generation": found.generation,
        "waiting": dict(found.waiting_for),
        "versions": {version: [one.replica for one in holders] for version, holders in table.versions.items()},
        "labels": dict(table.labels),
    } == {"labels": {}, **case["expected"]}
    assert table.traffic == found.traffic


def test_a_model_that_left_the_release_is_in_no_table() -> None:
    decision = decide(a_release({}), {"a": replica("a", {7: "AVAILABLE"})}, {"m": GatewayModel(5, {7: 100})}, 1)
    assert decision.table == Table()
    assert decision.models == {}


def model(plain: dict[str, Any]) -> ModelRelease:
    return ModelRelease(
        versions=dict.fromkeys(plain["versions"]),
        traffic=plain["traffic"],
        from_=plain.get("from"),
        labels=plain.get("labels", {}),
        opens=plain.get("opens", "all"),
    )


def replica(name: str, plain: dict[Any, Any] | str) -> ReplicaStatus | None:
    if isinstance(plain, str):
        return None
    rows = {version: row(text) for version, text in plain.items() if version not in ("leaving", "generation")}
    generation, leaving = plain.get("generation", GENERATION), plain.get("leaving", False)
    return ReplicaStatus(name, generation, True, leaving, f"{name}:1", f"{name}:2", {"m": rows})


def row(text: str) -> VersionStatus:
    state, _, error = text.partition(" ")
    return VersionStatus(State(state), error or None)


def a_release(models: dict[str, ModelRelease], generation: int = GENERATION) -> Release:
    return Release("shop", "uid", generation, Change("ann", "", "", ""), models=models)


VERSIONS = st.integers(1, 4)


@st.composite
def splits(draw: st.DrawFn) -> dict[int, int]:
    main = draw(VERSIONS)
    share = draw(st.sampled_from([0, 1, 50, 99]))
    return {main: 100} if share == 0 else {main: 100 - share, main % 4 + 1: share}


@st.composite
def models(draw: st.DrawFn) -> ModelRelease:
    traffic = draw(splits() | st.just({}))
    from_ = draw(st.none() | splits())
    held = {*traffic, *(from_ or {}), *draw(st.sets(VERSIONS))}
    labels = {"stable": draw(st.sampled_from(sorted(held)))} if held else {}
    opens = draw(st.sampled_from(["all", "enough"]))
    return ModelRelease(dict.fromkeys(held), traffic, from_, labels=labels, opens=opens)


ROWS = st.builds(VersionStatus, st.sampled_from([State.AVAILABLE, *State]))
NAMES = st.sampled_from(["m", "n"])


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, ReplicaStatus | None]:
    """What each of a few replicas says."""

    def status(name: str) -> ReplicaStatus | None:
        if draw(st.integers(0, 4)) == 0:
            return None
        rows = draw(st.dictionaries(NAMES, st.dictionaries(VERSIONS, ROWS)))
        leaving = draw(st.integers(0, 4)) == 0
        return ReplicaStatus(name, 1, draw(st.booleans()), leaving, f"{name}:1", f"{name}:2", rows)

    return {name: status(name) for name in draw(st.sets(st.sampled_from("abc")))}


RELEASES = st.dictionaries(NAMES, models()).map(a_release)
PREVIOUS = st.dictionaries(NAMES, st.builds(GatewayModel, st.integers(0, 11), splits() | st.just({})))


def holders(name: str, version: int, statuses: dict[str, ReplicaStatus | None]) -> set[str]:
    """The replicas that may get requests for a version, said in other words than the decision's."""
    return {
        replica
        for replica, status in statuses.items()
        if status and not status.leaving and status.models.get(name, {}).get(version) == VersionStatus(State.AVAILABLE)
    }


@given(release=RELEASES, statuses=fleets(), previous=PREVIOUS, enough=st.integers(0, 4))
def test_routes_only_where_available(
    release: Release, statuses: dict[str, ReplicaStatus | None], previous: dict[str, GatewayModel], enough: int
) -> None:
    table = decide(release, statuses, previous, enough).table
    for name, model in table.models.items():
        for version, found in model.versions.items():
            assert {one.replica for one in found} == holders(name, version, statuses)
            assert all(one == Endpoint(one.replica, f"{one.replica}:1", f"{one.replica}:2") for one in found)
        assert set(release.models[name].versions) <= set(model.versions), "what is held can be asked for"


@given(release=RELEASES, statuses=fleets(), previous=PREVIOUS, enough=st.integers(0, 4))
def test_traffic_never_empty_while_the_effective_split_has_a_holder(
    release: Release, statuses: dict[str, ReplicaStatus | None], previous: dict[str, GatewayModel], enough: int
) -> None:
    decision = decide(release, statuses, previous, enough)
    for name, model in decision.models.items():
        if any(holders(name, version, statuses) for version in model.traffic):
            table = decision.table.models[name]
            assert table.weights()
            assert all(table.versions[version] for version in table.weights())


@given(release=RELEASES, first=fleets(), then=fleets(), previous=PREVIOUS, enough=st.integers(0, 4))
def test_never_closes_again(
    release: Release,
    first: dict[str, ReplicaStatus | None],
    then: dict[str, ReplicaStatus | None],
    previous: dict[str, GatewayModel],
    enough: int,
) -> None:
    before = decide(release, first, previous, enough)
    after = decide(release, then, before.models, enough)
    for name, model in before.models.items():
        if model.traffic == release.models[name].traffic:
            assert after.models[name] == GatewayModel(GENERATION, model.traffic)


@given(release=RELEASES, statuses=fleets(), previous=PREVIOUS, enough=st.integers(0, 4))
def test_moves_only_through_an_open_barrier(
    release: Release, statuses: dict[str, ReplicaStatus | None], previous: dict[str, GatewayModel], enough: int
) -> None:
    members = {name for name, status in statuses.items() if status and not status.leaving}
    for name, found in decide(release, statuses, previous, enough).models.items():
        model = release.models[name]
        kept = previous[name].traffic if name in previous else {}
        if found.traffic != model.traffic:
            assert found.waiting_for
            assert found.traffic == (kept if model.from_ is None else model.from_)
            assert found.generation < GENERATION
        elif model.traffic not in ({}, kept, model.from_) and (kept or model.from_):
            having = set.intersection(*(holders(name, version, statuses) for version in model.traffic))
            least = len(members) if model.opens == "all" else min(max(enough, 1), len(members))
            assert members
            assert len(having) >= least


@given(release=RELEASES, statuses=fleets(), previous=PREVIOUS, enough=st.integers(0, 4))
def test_equal_input_gives_an_equal_table(
    release: Release, statuses: dict[str, ReplicaStatus | None], previous: dict[str, GatewayModel], enough: int
) -> None:
    decision = decide(release, statuses, previous, enough)
    again = decide(release, dict(reversed(statuses.items())), decision.models, enough)
    assert again.table.to_json() == decision.table.to_json()

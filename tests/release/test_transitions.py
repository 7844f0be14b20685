"""The transitions: a table of cases in files, and properties over every sequence of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.errors import Busy, Refused
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.release import transitions
from tfsdeploy.release.model import Change, ModelRelease, Release, Rollout, check, decode, encode, model_from_plain

CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted((Path(__file__).parents[1] / "cases" / "release").glob("*.yaml"))
    for case in yaml.safe_load(file.read_text())
]


def state(plain: dict[str, Any]) -> ModelRelease:
    """A model's state from a case, in which only what matters is written."""
    keys = ("from", "main", "previous", "rejected", "labels", "opens")
    full: dict[str, Any] = {key: plain[key] for key in keys if key in plain}
    full["versions"] = {str(version): {"digest": f"sha256:{version}"} for version in plain["versions"]}
    full["traffic"] = {str(version): share for version, share in plain.get("traffic", {}).items()}
    if full.get("from") is not None:
        full["from"] = {str(version): share for version, share in full["from"].items()}
    if "rollout" in plain:
        full["rollout"] = rollout_plain(plain["rollout"])
    return model_from_plain(full)


def rollout_plain(plain: dict[str, Any]) -> dict[str, Any]:
    retired = {str(version): {"digest": f"sha256:{version}"} for version in plain.get("retired", [])}
    return {"id": "one", "steps": [100], "step": 0, "by": "ann@desk", "loaded": True, **plain, "retired": retired}


def rollout(plain: dict[str, Any]) -> Rollout:
    made = state({"versions": [1], "rollout": plain}).rollout
    assert made is not None
    return made


def apply(case: dict[str, Any]) -> ModelRelease:
    before = state(case["before"]) if case.get("before") else None
    arguments = dict(case.get("with", {}))
    match case["do"]:
        case "begin":
            arguments["rollout"] = rollout(arguments["rollout"])
            version = arguments["rollout"].to
            return transitions.begin(before, digest=f"sha256:{version}", **arguments)
        case "fold":
            release = a_release({} if before is None else {"m": before})
            pins = Pins.from_json({"models": {"m": arguments.pop("pin")}})
            settled = frozenset({"m"}) if arguments.pop("settled", False) else frozenset()
            folded = transitions.fold(release, pins, settled=settled, **arguments)
            return folded.get("m", before)
        case name:
            return getattr(transitions, name)(before, **arguments)


def a_release(models: dict[str, ModelRelease], generation: int = 1) -> Release:
    return Release("shop", "u1", generation, Change("ann@desk", "2026-01-01T00:00:00Z", "", "up"), None, models)


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    if "refused" in case:
        with pytest.raises((Busy, Refused)) as caught:
            apply(case)
        assert case["refused"] in str(caught.value)
        return
    after = apply(case)
    check("m", after)
    expected = state(case["after"])
    # A fold knows no digests of versions it brings in; the cases speak of versions.
    known = {version: expected.versions.get(version, digest) for version, digest in after.versions.items()}
    assert replace(after, versions=known) == expected


versions = st.integers(1, 6)


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(["begin", "shift", "finish", "take_out", "rollback", "settle", "fold"]))
    match kind:
        case "begin":
            to = draw(versions)
            made = Rollout(id="x", to=to, steps=(10, 100), step=0, by="ann@desk")
            return kind, {
                "rollout": made,
                "digest": f"sha256:{to}",
                "keep": draw(st.integers(0, 2)),
                "settled": draw(st.booleans()),
                "take_over": draw(st.booleans()),
            }
        case "shift":
            return kind, {"share": draw(st.integers(1, 100)), "settled": draw(st.booleans())}
        case "rollback":
            return kind, {"to": draw(st.none() | versions), "settled": draw(st.booleans())}
        case "settle":
            return kind, {"keep": draw(st.integers(0, 2))}
        case "fold":
            pin: dict[str, Any] = {"version": draw(versions), "canary": None, "labels": {}}
            canary = draw(versions)
            if draw(st.booleans()) and canary != pin["version"]:
                pin["canary"] = {"version": canary, "weight": draw(st.integers(1, 99))}
            return kind, {"pin": pin, "keep": draw(st.integers(0, 2)), "settled": draw(st.booleans())}
    return kind, {}


@given(st.lists(steps(), max_size=12))
def test_every_sequence_keeps_what_serves(sequence: list[tuple[str, dict[str, Any]]]) -> None:
    """Whatever is done in whatever order: the document stays valid, and what may be serving stays loaded."""
    model = transitions.add(1, "sha256:1")
    for kind, arguments in sequence:
        before = model
        try:
            if kind == "fold":
                pins = Pins.from_json({"models": {"m": arguments["pin"]}})
                settled = frozenset({"m"}) if arguments["settled"] else frozenset()
                model = transitions.fold(a_release({"m": model}), pins, keep=arguments["keep"], settled=settled).get(
                    "m", model
                )
            else:
                model = getattr(transitions, kind)(model, **arguments)
        except (Busy, Refused):
            assert model == before
            continue
        check("m", model)
        assert model.traffic, "traffic never vanishes"
        assert model.main in model.versions
        if kind in ("shift", "rollback", "take_out") and not arguments.get("settled", False):
            unsettled = before.from_ if before.from_ is not None else before.traffic
            assert set(unsettled) <= set(model.versions), "what may be effective now stays loaded"
        release = a_release({"m": model})
        assert decode(encode(release)) == release


@given(st.lists(steps(), max_size=8), st.integers(2, 6))
def test_a_promote_that_fails_leaves_it_as_it_was(sequence: list[tuple[str, dict[str, Any]]], to: int) -> None:
    model = transitions.add(1, "sha256:1")
    for kind, arguments in sequence:
        if kind == "fold":
            continue
        try:
            model = getattr(transitions, kind)(model, **arguments)
        except (Busy, Refused):
            continue
    if model.rollout is not None or model.traffic != {model.main: 100}:
        return
    begun = transitions.begin(model, Rollout("y", to, (100,), 0, "ann@desk"), f"sha256:{to}", keep=1)
    back = transitions.take_out(begun)
    assert (back.versions, back.traffic, back.main, back.previous, back.labels) == (
        model.versions,
        model.traffic,
        model.main,
        model.previous,
        model.labels,
    )


@given(st.integers(2, 6), st.integers(0, 3))
def test_resident_versions_are_bounded(to: int, keep: int) -> None:
    """At most ``keep`` + 1 versions are resident, and never fewer than the two that a change needs."""
    model = transitions.add(1, "sha256:1")
    for version in range(2, to + 1):
        model = transitions.begin(model, Rollout("y", version, (100,), 0, "a@b"), None, keep=keep)
        assert len(model.versions) <= max(keep + 1, 2)
        model = transitions.finish(transitions.shift(model, 100))

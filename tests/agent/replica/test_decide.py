"""The replica's decision: tables of moments that follow each other, and properties over any course of events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsdeploy.agent.replica import memory as kept
from tfsdeploy.agent.replica.decide import Files, Moment, arrived, decide, died, lost, recovered
from tfsdeploy.agent.replica.memory import Key, Memory
from tfsdeploy.protocol.agents import State
from tfsdeploy.protocol.rest import StatusRow

CASES = [
    pytest.param(case["steps"], id=f"{file.stem}: {case['name']}")
    for file in sorted((Path(__file__).parents[2] / "cases" / "replica").glob("*.yaml"))
    for case in yaml.safe_load(file.read_text())
]


@pytest.mark.parametrize("steps", CASES)
def test_decides_as_the_case_says(steps: list[dict[str, Any]], tmp_path: Path) -> None:
    now = Moment({}, {}, None, Memory())
    for number, step in enumerate(steps, start=1):
        now = follow(now, step)
        decision = decide(now)
        found: dict[str, Any] = {
            "config": sorted(decision.memory.listed),
            "status": {
                (model, version): f"{row.state} {row.error}" if row.error else row.state.value
                for model, versions in decision.models.items()
                for version, row in versions.items()
            },
            "ready": decision.ready,
            "damaged": decision.damaged,
        }
        expected = {
            "config": [key(text) for text in step.get("config", [])],
            "status": keyed(step.get("status", {})),
            "ready": step.get("ready"),
            "damaged": step.get("damaged"),
        }
        for what in found.keys() & step.keys():
            assert found[what] == expected[what], f"step {number}: {what}"
        # An agent that restarts between any two moments goes on the same way.
        kept.write(tmp_path / "state.json", decision.memory)
        assert kept.read(tmp_path / "state.json") == decision.memory
        again = decide(replace(now, memory=decision.memory)).memory
        assert again.listed == decision.memory.listed, f"step {number}: not at rest"
        now = replace(now, memory=decision.memory)


def follow(now: Moment, step: dict[str, Any]) -> Moment:
    """The next moment of a case."""
    if step.get("dies"):
        now = replace(now, memory=died(now.memory, now.rows or {}, now.promotes))
    if "wanted" in step:
        now = replace(now, wanted=keyed(step["wanted"]))
    if "promotes" in step:
        now = replace(now, promotes=keyed(step["promotes"]))
    files = keyed(step["files"]) if "files" in step else {k: f"{f.state} {f.error}" for k, f in now.files.items()}
    now = replace(now, files={k: file(text, now.wanted.get(k)) for k, text in files.items()})
    if "server" in step:
        now = replace(now, rows=None if step["server"] == "down" else rows(step["server"]))
    for name in ("silent", "start_over"):
        if name in step:
            now = replace(now, **{name: step[name]})
    for name in ("drained", "overdue", "reloaded", "unsure", "torn"):
        now = replace(now, **{name: frozenset(key(text) for text in step.get(name, []))})
    return now


def key(text: str | int) -> Key:
    model, _, version = f"m/{text}".rpartition("/")
    return model.removeprefix("m/"), int(version)


def keyed(plain: dict[Any, Any]) -> dict[Key, Any]:
    return {key(text): value for text, value in plain.items()}


def file(text: str, digest: str | None) -> Files:
    state, _, error = text.partition(" ")
    return Files(state, error, digest=digest if state == "present" else None)  # type: ignore[arg-type]


def rows(plain: dict[Any, str]) -> dict[str, tuple[StatusRow, ...]]:
    found: dict[str, tuple[StatusRow, ...]] = {}
    for (model, version), text in keyed(plain).items():
        state, code, message = (*text.split(" ", 2), "OK", "")[:3] if " " not in text else text.split(" ", 2)
        found[model] = (*found.get(model, ()), StatusRow(version, state, code, message))
    return found


def test_what_serves_is_recovered_when_nothing_is_remembered() -> None:
    wanted = {("m", 1): "a", ("m", 2): "b"}
    found = recovered(wanted, rows({1: "AVAILABLE", 2: "LOADING", 3: "AVAILABLE"}))
    assert found.listed == {("m", 1): "a"}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({1: "AVAILABLE"}, {1: "AVAILABLE"}, False),
        ({1: "AVAILABLE"}, {1: "END"}, True),
        ({1: "LOADING"}, {1: "END"}, False),
        ({2: "AVAILABLE"}, {2: "END"}, False),
        ({"a/1": "AVAILABLE", 1: "AVAILABLE"}, {1: "AVAILABLE"}, False),
    ],
)
def test_what_a_server_unloads_by_itself_is_noticed(before: Any, after: Any, found: bool) -> None:
    memory = Memory(listed={("m", 1): "a", ("a", 1): "a"})
    assert lost(memory, rows(before), rows(after)) == ({("m", 1)} if found else set())


KEYS = st.sampled_from([(model, version) for model in ("m", "n") for version in (1, 2)])
ROW = st.sampled_from(
    [("START", "OK"), ("LOADING", "OK"), ("AVAILABLE", "OK"), ("UNLOADING", "OK"), ("END", "OK"), ("END", "UNKNOWN")]
)
FILES = st.sampled_from(["unknown", "verifying", "present", "bad", "refused", "away"])


@st.composite
def moments(draw: st.DrawFn) -> tuple[Moment, bool]:
    """A moment of anything, and whether the server died before it."""
    wanted = draw(st.dictionaries(KEYS, st.sampled_from(["a", "b"])))
    states = draw(st.fixed_dictionaries(dict.fromkeys(wanted, FILES)))
    wrong = {"bad": "wrong", "refused": "denied"}
    files = {k: Files(state, wrong.get(state, ""), digest=wanted[k]) for k, state in states.items()}  # type: ignore[arg-type]
    told = draw(st.none() | st.dictionaries(KEYS, ROW))
    by_model: dict[str, tuple[StatusRow, ...]] = {}
    for (model, version), (state, code) in (told or {}).items():
        by_model[model] = (*by_model.get(model, ()), StatusRow(version, state, code, "cannot" if code != "OK" else ""))
    drained = draw(st.frozensets(KEYS))
    silent = told is not None and draw(st.booleans())
    rows = None if told is None else by_model
    unsure = draw(st.frozensets(KEYS))
    promotes = draw(st.dictionaries(KEYS, st.sampled_from(["first", "second"])))
    return Moment(wanted, files, rows, Memory(), silent, drained, unsure=unsure, promotes=promotes), draw(st.booleans())


@settings(max_examples=400)
@given(st.lists(moments(), min_size=1, max_size=8))
def test_whatever_happens(course: list[tuple[Moment, bool]]) -> None:
    memory, last = Memory(), None
    for moment, death in course:
        if death and last is not None:
            memory = died(memory, last, moment.promotes)
        before, now = memory, replace(moment, memory=memory)
        decision = decide(now)
        memory, last = decision.memory, moment.rows
        states = {(m, v): row.state for m, versions in decision.models.items() for v, row in versions.items()}
        assert states.keys() >= now.wanted.keys()
        for one, state in states.items():
            row = moment.row(one)
            if state is State.AVAILABLE:
                assert row is not None
                assert row.state == "AVAILABLE"
                assert one not in moment.unsure
                assert one in before.listed, "a row of a version that was not listed is an earlier life's"
                assert one not in before.departing
                assert memory.listed[one] == now.wanted[one], "other bytes"
                assert not moment.silent
            if state is State.DRAINING:
                assert one in memory.listed
        for one in memory.listed.keys() - before.listed.keys():
            assert now.files[one].state == "present"
            assert one in now.wanted
        if moment.rows is not None:
            for one in before.listed.keys() - memory.listed.keys():
                row = moment.row(one)
                # What is blamed for the death before this moment was not in use since.
                blamed = one in before.failed
                there = row is not None and row.state == "AVAILABLE" and one not in moment.unsure
                serving = there and not moment.silent and not blamed
                kept_as_it_was = now.wanted.get(one) == before.listed[one] and one not in memory.failed
                kept_as_it_was = kept_as_it_was and one not in moment.torn
                assert not kept_as_it_was
                assert not serving or one in moment.drained, "taken away while gateways use it"
            new_names = {m for m, _ in memory.listed} - {m for m, _ in before.listed}
            assert len(new_names) <= 1, "names come one by one"


def test_what_is_looked_at_again_when_it_was_loaded() -> None:
    """What is new to this machine: a server that is started again, or an agent, takes nothing from what serves."""
    memory = Memory(listed={("m", 1): "a", ("m", 2): "b", ("m", 3): "c"}, proven={("m", 1): "a", ("m", 2): "other"})
    told = rows({1: "AVAILABLE", 2: "AVAILABLE", 3: "LOADING", 4: "AVAILABLE"})
    assert arrived(memory, told) == {("m", 2)}
    forgotten = recovered({("m", 1): "a", ("m", 2): None}, told)
    assert arrived(forgotten, told) == set()

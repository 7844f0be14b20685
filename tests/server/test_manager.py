"""Which versions are in memory: the policy as a table, and the manager with servables that count themselves."""

from __future__ import annotations

import errno
import gc
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.protocol.rest import StatusRow
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import manager as manager_module
from tfsdeploy.server import text_file
from tfsdeploy.server.flags import parse
from tfsdeploy.server.main import load_threads
from tfsdeploy.server.manager import Manager
from tfsdeploy.server.policy import Action, Snapshot, State, next_action, postponed

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "server" / "next_action.yaml").read_text())

LIMIT_SECONDS = 60.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_policy_decides_as_the_case_says(case: dict[str, Any]) -> None:
    rows = [Snapshot(version, State(text.lstrip("-")), text[0] != "-") for version, text in case["rows"].items()]
    action = next_action(rows)
    assert (f"{action.what} {action.version}" if action else "nothing") == case["then"]


SNAPSHOTS = st.dictionaries(st.integers(1, 6), st.tuples(st.sampled_from(list(State)), st.booleans()), max_size=6).map(
    lambda rows: [Snapshot(version, *row) for version, row in rows.items()]
)


@given(SNAPSHOTS)
def test_the_policy_never_takes_the_last_serving_version_from_a_model_that_should_have_one(
    rows: list[Snapshot],
) -> None:
    action = next_action(rows)
    if action and action.what == "unload" and any(row.aspired for row in rows):
        assert sum(row.state is State.AVAILABLE for row in rows) > 1


@given(SNAPSHOTS)
def test_the_policy_loads_only_what_is_new_and_aspired_and_unloads_only_what_serves_and_is_not(
    rows: list[Snapshot],
) -> None:
    action = next_action(rows)
    if action:
        (row,) = (row for row in rows if row.version == action.version)
        assert (row.state, row.aspired) == ((State.START, True) if action.what == "load" else (State.AVAILABLE, False))


@pytest.mark.parametrize(
    ("row", "own", "like_tfs"),
    [
        (Snapshot(1, State.AVAILABLE, aspired=False), False, True),
        (Snapshot(1, State.UNLOADING, aspired=False), True, True),
        (Snapshot(1, State.LOADING, aspired=False), False, True),
        (Snapshot(1, State.END, aspired=False), False, False),
        (Snapshot(1, State.AVAILABLE, aspired=True), False, False),
        (Snapshot(2, State.UNLOADING, aspired=False), False, False),
    ],
    ids=str,
)
def test_a_list_waits_until_what_it_wants_again_is_gone(row: Snapshot, own: bool, like_tfs: bool) -> None:
    assert postponed([row], {1}, like_tfs=False) == own
    assert postponed([row], {1}, like_tfs=True) == like_tfs


class Memory:
    """What is loaded, by path; loads wait at a gate where one is shut, and fail where they are told to."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.closed: list[str] = []
        self.failures: dict[str, int] = {}
        self.gates: dict[str, threading.Event] = {}
        self.at_gate: dict[str, threading.Event] = {}

    def load(self, path: str) -> Servable:
        self.loads.append(path)
        if path in self.gates:
            self.at_gate[path].set()
            assert self.gates[path].wait(LIMIT_SECONDS)
        if self.failures.get(path, 0) > 0:
            self.failures[path] -= 1
            raise Failed("NOT_FOUND", f"no model in {path}")
        return Servable(self, path)

    def shut(self, path: str) -> None:
        """Loads of this path do not end before `open`."""
        self.gates[path], self.at_gate[path] = threading.Event(), threading.Event()

    def reached(self, path: str) -> None:
        """Wait until a load of this path stands at its gate."""
        assert self.at_gate[path].wait(LIMIT_SECONDS)

    def open(self, path: str) -> None:
        """Let loads of this path go on."""
        self.gates.pop(path).set()

    @property
    def held(self) -> int:
        """How many servables are in memory."""
        return len(self.loads) - len(self.closed)


class Servable:
    """One version in memory."""

    def __init__(self, memory: Memory, path: str) -> None:
        self._memory = memory
        self.path = path

    def close(self) -> None:
        self._memory.closed.append(self.path)


class Unit:
    """A manager and its memory, of one model ``m``."""

    def __init__(self, threads: int = 2, retries: int = 0, *, like_tfs: bool = False) -> None:
        self.memory = Memory()
        self.manager: Manager[Servable] = Manager(self.memory.load, threads=threads, retries=retries, like_tfs=like_tfs)

    def aspire(self, *versions: int, model: str = "m") -> None:
        """Want these versions of a model, and no others."""
        self.manager.aspire({model: {version: f"/{model}/{version}" for version in versions}})

    def becomes(self, model: str = "m", **rows: str) -> None:
        """Wait until the model's rows are these."""
        expected = {int(version.strip("_")): state for version, state in rows.items()}
        assert self.manager.wait(lambda: self.rows(model) == expected, LIMIT_SECONDS), self.rows(model)

    def rows(self, model: str = "m") -> dict[int, str]:
        return {row.version: row.state for row in self.manager.status(model)}


def end(manager: Manager[Servable]) -> None:
    """Close it, and wait for its threads: what a later test patches or counts is that test's alone."""
    manager.close()
    manager._pool.shutdown(wait=True)


@pytest.fixture
def unit() -> Iterator[Unit]:
    made = Unit()
    yield made
    end(made.manager)


def test_rows_are_told_highest_first(unit: Unit) -> None:
    unit.aspire(2, 10, 9)
    unit.becomes(_2="AVAILABLE", _9="AVAILABLE", _10="AVAILABLE")
    assert [row.version for row in unit.manager.status("m")] == [10, 9, 2]
    assert unit.manager.status("nobody") == ()


def test_the_highest_that_is_ready_answers_and_a_version_only_by_its_number(unit: Unit) -> None:
    unit.memory.shut("/m/3")
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.aspire(1, 3)
    unit.memory.reached("/m/3")
    with unit.manager.handle("m", None) as (version, servable):
        assert (version, servable.path) == (1, "/m/1")
    with pytest.raises(Failed, match=r"Servable not found for request: Specific\(m, 3\)"), unit.manager.handle("m", 3):
        pass
    unit.memory.open("/m/3")
    unit.becomes(_1="AVAILABLE", _3="AVAILABLE")
    with unit.manager.handle("m", None) as (version, _):
        assert version == 3
    with unit.manager.handle("m", 1) as (version, _):
        assert version == 1
    with pytest.raises(Failed, match=r"Servable not found for request: Latest\(x\)"), unit.manager.handle("x", None):
        pass


def test_what_is_in_use_is_not_closed_but_serves_nobody_else(unit: Unit) -> None:
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    with unit.manager.handle("m", None):
        unit.aspire(2)
        unit.becomes(_1="UNLOADING", _2="AVAILABLE")
        assert unit.memory.closed == []
        with unit.manager.handle("m", None) as (version, _):
            assert version == 2
        with pytest.raises(Failed, match="Specific"), unit.manager.handle("m", 1):
            pass
    unit.becomes(_1="END", _2="AVAILABLE")
    assert unit.memory.closed == ["/m/1"]


def test_end_rows_stay(unit: Unit) -> None:
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.aspire()
    unit.becomes(_1="END")
    unit.aspire(2)
    unit.becomes(_1="END", _2="AVAILABLE")
    assert unit.manager.status("m")[1] == StatusRow(1, "END")


def decisions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each decision of the manager looks at, from now on."""
    looked: list[int] = []

    def counting(rows: list[Snapshot]) -> Action | None:
        looked.append(len(rows))
        return next_action(rows)

    monkeypatch.setattr(manager_module, "next_action", counting)
    return looked


def test_of_the_versions_that_are_over_the_last_are_told_and_none_is_looked_at(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = decisions(monkeypatch)
    monkeypatch.setattr(manager_module, "MOST_ENDED", 3)
    for version in range(1, 10):
        unit.aspire(version)
        unit.becomes(
            **{f"_{one}": "END" for one in range(max(1, version - 3), version)}, **{f"_{version}": "AVAILABLE"}
        )
    assert max(looked) == 2
    unit.aspire(7)
    unit.becomes(_6="END", _7="AVAILABLE", _8="END", _9="END")


def test_lists_that_are_as_they_were_are_no_work_and_wait_for_nobody(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = decisions(monkeypatch)
    names = [f"m{number}" for number in range(1000)]
    for name in names:
        unit.aspire(1, model=name)
    assert unit.manager.wait(lambda: len(unit.memory.loads) == len(names) and unit.manager.idle(), LIMIT_SECONDS)
    # For each model: when its list comes, when its load begins, when it has ended.
    assert len(decided) <= 3 * len(names)
    decided.clear()
    again = threading.Thread(target=lambda: [unit.aspire(1, model=name) for name in names])
    with unit.manager._changed:
        again.start()
        again.join(LIMIT_SECONDS)
        assert not again.is_alive()
    assert decided == []


def test_a_version_wanted_again_while_it_leaves_is_first_unloaded_then_loaded_anew(unit: Unit) -> None:
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    with unit.manager.handle("m", 1):
        unit.aspire()
        unit.becomes(_1="UNLOADING")
        unit.aspire(1)
        assert unit.rows() == {1: "UNLOADING"}
        assert unit.memory.loads == ["/m/1"]
    unit.becomes(_1="AVAILABLE")
    assert (unit.memory.loads, unit.memory.closed) == (["/m/1", "/m/1"], ["/m/1"])


def test_a_version_that_ended_is_loaded_anew_when_it_is_wanted_again(unit: Unit) -> None:
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.aspire()
    unit.becomes(_1="END")
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    assert unit.memory.held == 1


def test_wanting_the_same_again_changes_nothing(unit: Unit) -> None:
    unit.aspire(1, 2)
    unit.becomes(_1="AVAILABLE", _2="AVAILABLE")
    for _ in range(3):
        unit.aspire(2, 1)
    assert len(unit.memory.loads) == 2


def test_a_version_that_cannot_load_takes_nothing_away(unit: Unit) -> None:
    unit.memory.failures["/m/2"] = 1
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.aspire(2)
    unit.becomes(_1="AVAILABLE", _2="END")
    assert unit.manager.status("m")[0] == StatusRow(2, "END", "NOT_FOUND", "no model in /m/2")
    with unit.manager.handle("m", None) as (version, _):
        assert version == 1
    unit.aspire(2)
    assert unit.memory.loads == ["/m/1", "/m/2"], "a failed version is not tried again while it stays wanted"


def test_a_failed_version_is_tried_anew_when_it_was_given_up_and_is_wanted_again(unit: Unit) -> None:
    unit.memory.failures["/m/1"] = 1
    unit.aspire(1)
    unit.becomes(_1="END")
    unit.aspire()
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    assert unit.manager.status("m") == (StatusRow(1, "AVAILABLE"),)


def test_the_way_back_from_a_version_that_cannot_load_is_free(unit: Unit) -> None:
    unit.memory.failures["/m/2"] = 1
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.aspire(2)
    unit.becomes(_1="AVAILABLE", _2="END")
    unit.aspire(1)
    unit.aspire(1, 2)
    unit.becomes(_1="AVAILABLE", _2="AVAILABLE")
    assert unit.memory.loads == ["/m/1", "/m/2", "/m/2"]


def test_like_the_original_the_way_back_from_a_version_that_cannot_load_is_shut() -> None:
    unit = Unit(like_tfs=True)
    unit.memory.failures["/m/2"] = 1
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.aspire(2)
    unit.becomes(_1="AVAILABLE", _2="END")
    unit.aspire(1)
    unit.aspire(1, 2)
    assert unit.rows() == {1: "AVAILABLE", 2: "END"}
    unit.aspire(3)
    unit.becomes(_1="END", _2="END", _3="AVAILABLE")
    end(unit.manager)


@pytest.mark.parametrize(("failures", "ends"), [(0, "AVAILABLE"), (2, "AVAILABLE"), (3, "END")])
def test_loads_are_tried_again_as_often_as_told(failures: int, ends: str) -> None:
    unit = Unit(retries=2)
    unit.memory.failures["/m/1"] = failures
    unit.aspire(1)
    unit.becomes(_1=ends)
    assert len(unit.memory.loads) == min(3, failures + 1)
    end(unit.manager)


@pytest.mark.parametrize(
    ("number", "like_tfs", "ends", "attempts"),
    [
        (errno.ESTALE, False, ("AVAILABLE", "OK", ""), 2),
        (errno.EIO, False, ("AVAILABLE", "OK", ""), 2),
        (errno.ESTALE, True, ("END", "ABORTED", "/m/1; Stale file handle"), 1),
        (errno.ENOTDIR, False, ("END", "FAILED_PRECONDITION", "/m/1; Not a directory"), 1),
    ],
)
def test_a_folder_that_cannot_be_looked_into_is_looked_into_again(
    number: int, like_tfs: bool, ends: tuple[str, str, str], attempts: int, capsys: pytest.CaptureFixture[str]
) -> None:
    unit, away = Unit(), [OSError(number, os.strerror(number))]

    def load(path: str) -> Servable:
        servable = unit.memory.load(path)
        if away:
            raise away.pop()
        return servable

    manager: Manager[Servable] = Manager(load, threads=2, retries=1, like_tfs=like_tfs)
    manager.aspire({"m": {1: "/m/1"}})
    assert manager.wait(lambda: manager.idle() and manager.status("m")[0].state == ends[0], LIMIT_SECONDS)
    row = manager.status("m")[0]
    reserve = "Error while attempting to reserve resources to load servable {name: m version: 1}: "
    assert (row.state, row.code, row.message.removeprefix(reserve)) == ends
    assert f"failed: {text_file.failed('/m/1', OSError(number, '')).code}: {reserve}/m/1; " in capsys.readouterr().err
    assert len(unit.memory.loads) == attempts
    end(manager)
    end(unit.manager)


def test_a_model_is_tried_when_each_of_its_versions_is(unit: Unit) -> None:
    unit.memory.shut("/m/1")
    unit.memory.failures["/m/2"] = 1
    unit.aspire(1, 2, 3)
    unit.becomes(_1="LOADING", _2="END", _3="AVAILABLE")
    assert not unit.manager.tried("m")
    unit.memory.open("/m/1")
    unit.becomes(_1="AVAILABLE", _2="END", _3="AVAILABLE")
    assert unit.manager.tried("m")


def test_one_that_is_retried_holds_up_no_other_version() -> None:
    memory = Memory()
    memory.failures["/m/2"] = 1
    manager: Manager[Servable] = Manager(memory.load, threads=2, retries=1, retry_seconds=3600)
    manager.aspire({"m": {1: "/m/1", 2: "/m/2"}})
    assert manager.wait(lambda: [row.state for row in manager.status("m")] == ["LOADING", "AVAILABLE"], LIMIT_SECONDS)
    assert manager.tried("m")
    assert not manager.idle()
    manager.aspire({"m": {3: "/m/3"}})
    ended = ["AVAILABLE", "END", "END"]
    assert manager.wait(lambda: [row.state for row in manager.status("m")] == ended, LIMIT_SECONDS)
    assert manager.status("m")[1].code == "CANCELLED"
    end(manager)


@pytest.mark.parametrize("like_tfs", [False, True])
def test_one_that_is_retried_holds_its_thread_in_the_original_alone(like_tfs: bool) -> None:
    memory = Memory()
    memory.failures["/m/1"] = 9
    manager: Manager[Servable] = Manager(
        memory.load, threads=1, unload_threads=1, retries=9, retry_seconds=3600, like_tfs=like_tfs
    )
    manager.aspire({"m": {1: "/m/1"}})
    assert manager.wait(lambda: manager.tried("m"), LIMIT_SECONDS)
    manager.aspire({"other": {1: "/other/1"}})
    begins = manager.wait(lambda: manager.status("other")[0].state == "AVAILABLE", 0.2 if like_tfs else LIMIT_SECONDS)
    assert begins is not like_tfs
    manager.use_threads(2, 1)
    assert manager.wait(lambda: manager.status("other")[0].state == "AVAILABLE", LIMIT_SECONDS)
    end(manager)


@pytest.mark.parametrize("like_tfs", [False, True])
def test_a_retry_is_counted_once_among_the_loads(like_tfs: bool) -> None:
    unit = Unit(retries=3, like_tfs=like_tfs)
    unit.memory.failures["/m/1"] = 3
    unit.manager.use_threads(1, 1)
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.aspire(1, model="other")
    unit.becomes("other", _1="AVAILABLE")
    end(unit.manager)


def test_a_retry_waits_for_the_load_that_began_meanwhile() -> None:
    unit = Unit(retries=1)
    unit.memory.failures["/m/2"] = 1
    unit.memory.shut("/m/1")
    unit.aspire(1, 2)
    unit.memory.reached("/m/1")
    assert (unit.memory.loads, unit.rows()) == (["/m/2", "/m/1"], {1: "LOADING", 2: "LOADING"})
    unit.memory.open("/m/1")
    unit.becomes(_1="AVAILABLE", _2="AVAILABLE")
    end(unit.manager)


def test_a_load_given_up_between_two_attempts_ends_as_cancelled() -> None:
    unit = Unit(retries=5)
    unit.memory.failures["/m/1"] = 6
    unit.memory.shut("/m/1")
    unit.aspire(1)
    unit.memory.reached("/m/1")
    unit.aspire()
    unit.memory.open("/m/1")
    unit.becomes(_1="END")
    assert unit.manager.status("m")[0] == StatusRow(1, "END", "CANCELLED", "Loading of servable cancelled")
    assert unit.memory.loads == ["/m/1"]
    end(unit.manager)


def test_a_version_wanted_again_in_the_moment_it_is_cancelled_is_loaded(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = [unit.aspire]
    again = threading.Thread(target=unit.aspire, args=(1,))

    def saying(line: str, severity: str = "INFO") -> None:
        if line.startswith("Loading servable") and given_up:
            given_up.pop()()

    class Cancelling(Failed):
        def __init__(self, code: str, message: str) -> None:
            super().__init__(code, message)
            again.start()
            again.join(0.2)  # who holds the lock has it wait

    monkeypatch.setattr(manager_module, "say", saying)
    monkeypatch.setattr(manager_module, "Failed", Cancelling)
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    again.join(LIMIT_SECONDS)
    assert unit.memory.loads == ["/m/1"]


def test_a_version_wanted_again_as_its_rest_ends_is_not_loaded_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    memory.failures["/m/1"] = 1
    manager: Manager[Servable] = Manager(memory.load, threads=2, retries=1, retry_seconds=3600)
    manager.aspire({"m": {1: "/m/1"}})
    assert manager.wait(lambda: manager.tried("m"), LIMIT_SECONDS)
    memory.shut("/m/1")
    memory.shut("/m/2")
    lock, closing, wanted = cast("Any", manager._changed), manager._closing.is_set, [{1: "/m/1"}]

    def between_locks() -> bool:
        if not lock._is_owned() and wanted:
            manager.aspire({"m": wanted.pop()})
        return closing()

    monkeypatch.setattr(manager._closing, "is_set", between_locks)
    manager.aspire({"m": {}})
    assert manager.wait(lambda: manager.status("m")[0].state == "END" or len(memory.loads) > 1, LIMIT_SECONDS)
    manager.aspire({"m": {1: "/m/1", 2: "/m/2"}})
    memory.reached("/m/2")
    assert memory.loads == ["/m/1", "/m/2"]
    memory.open("/m/2")
    memory.reached("/m/1")
    memory.open("/m/1")
    assert manager.wait(lambda: [row.state for row in manager.status("m")] == ["AVAILABLE"] * 2, LIMIT_SECONDS)
    end(manager)


def test_a_version_given_up_while_it_loads_is_unloaded_afterwards(unit: Unit) -> None:
    unit.memory.shut("/m/1")
    unit.aspire(1)
    unit.memory.reached("/m/1")
    unit.aspire()
    unit.memory.open("/m/1")
    unit.becomes(_1="END")
    assert unit.memory.held == 0


def test_a_version_given_up_before_it_began_never_loads(unit: Unit) -> None:
    unit.memory.shut("/m/9")
    unit.aspire(1, 9)
    unit.memory.reached("/m/9")
    unit.aspire(9)
    assert unit.rows() == {1: "END", 9: "LOADING"}
    unit.memory.open("/m/9")
    unit.becomes(_1="END", _9="AVAILABLE")
    assert unit.memory.loads == ["/m/9"]


def test_another_model_is_not_held_up_by_one_that_loads(unit: Unit) -> None:
    unit.memory.shut("/m/1")
    unit.aspire(1)
    unit.memory.reached("/m/1")
    unit.aspire(1, model="other")
    unit.becomes("other", _1="AVAILABLE")
    unit.memory.open("/m/1")
    unit.becomes(_1="AVAILABLE")


def test_with_one_thread_what_comes_while_it_loads_is_not_known_until_then() -> None:
    unit = Unit(threads=1)
    unit.memory.shut("/m/1")
    unit.aspire(1)
    unit.memory.reached("/m/1")
    unit.aspire(1, 2)
    unit.aspire(1, model="other")
    assert (unit.rows(), unit.rows("other")) == ({1: "LOADING"}, {})
    unit.manager.use_threads(2)
    unit.becomes("other", _1="AVAILABLE")
    unit.memory.open("/m/1")
    end(unit.manager)


def test_loads_and_unloads_have_threads_of_their_own(unit: Unit) -> None:
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.manager.use_threads(1, 1)
    with unit.manager.handle("m", 1):
        unit.aspire()
        unit.becomes(_1="UNLOADING")
        unit.memory.shut("/slow/1")
        unit.aspire(1, model="slow")
        unit.memory.reached("/slow/1")
        unit.aspire(1, model="other")
        assert unit.rows("other") == {1: "START"}
    unit.becomes(_1="END")
    assert unit.rows("other") == {1: "START"}
    unit.memory.open("/slow/1")
    unit.becomes("other", _1="AVAILABLE")


def test_with_threads_shared_an_unload_holds_up_a_load() -> None:
    unit = Unit(threads=1)
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    with unit.manager.handle("m", 1):
        unit.aspire()
        unit.becomes(_1="UNLOADING")
        unit.aspire(1, model="other")
        assert unit.rows("other") == {}
    unit.becomes("other", _1="AVAILABLE")
    end(unit.manager)


@pytest.mark.parametrize(
    ("words", "threads"),
    [
        ([], (4, 4)),
        (["--num_load_threads=1"], (1, 4)),
        (["--num_load_threads=8", "--num_unload_threads=2"], (8, 2)),
        (["--num_load_threads=-1"], (4, 4)),
        (["--like_tfs"], (1, None)),
        (["--like_tfs", "--num_load_threads=2"], (2, 1)),
        (["--like_tfs", "--num_unload_threads=2"], (1, 2)),
    ],
    ids=str,
)
def test_threads_by_flags(words: list[str], threads: tuple[int, int | None]) -> None:
    assert load_threads(parse(words)[0]) == threads


def test_what_a_load_throws_is_a_failed_version_not_a_dead_model(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    bombs = ["boom"]

    def explode(path: str) -> Servable:
        if bombs:
            raise ZeroDivisionError(bombs.pop())
        return Servable(unit.memory, path)

    manager: Manager[Servable] = Manager(explode, threads=1)
    manager.aspire({"m": {1: "/m/1"}})
    assert manager.wait(lambda: [row.state for row in manager.status("m")] == ["END"], LIMIT_SECONDS)
    assert manager.status("m")[0].code == "INTERNAL"
    manager.retry_failed(0)
    assert manager.wait(lambda: manager.status("m") == (StatusRow(1, "AVAILABLE"),), LIMIT_SECONDS)
    manager.aspire({"m": {2: "/m/2"}})
    assert manager.wait(lambda: manager.status("m")[0] == StatusRow(2, "AVAILABLE"), LIMIT_SECONDS)
    assert "ZeroDivisionError: boom" in capsys.readouterr().err
    end(manager)


def test_no_state_changes_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a version is seen that is over, but not yet with its error."""
    memory, bombs = Memory(), ["boom"]

    def explode(path: str) -> Servable:
        if bombs:
            raise ZeroDivisionError(bombs.pop())
        return memory.load(path)

    manager: Manager[Servable] = Manager(explode, threads=1)
    lock, state = cast("Any", manager._changed), cast("Any", manager_module._Version.__dict__["state"])
    changes: list[tuple[str, bool]] = []

    def change(row: Any, to: State) -> None:
        if row.model == "looked at":  # a manager that an earlier test has closed may still be unloading
            changes.append((to, lock._is_owned()))
        state.__set__(row, to)

    monkeypatch.setattr(manager_module._Version, "state", property(state.__get__, change))
    memory.failures["/m/2"] = 1
    for version, ends in ((1, "END"), (2, "END"), (3, "AVAILABLE"), (4, "AVAILABLE")):
        manager.aspire({"looked at": {version: f"/m/{version}"}})
        assert manager.wait(
            lambda version=version, ends=ends: (
                manager.idle()
                and (manager.status("looked at")[0].version, manager.status("looked at")[0].state) == (version, ends)
            ),
            LIMIT_SECONDS,
        )
    assert {to for to, _ in changes} == set(State)
    assert all(held for _, held in changes)
    end(manager)


def test_what_failed_is_tried_again_where_it_is_wanted_now(unit: Unit) -> None:
    unit.memory.failures["/m/1"] = 1
    unit.aspire(1)
    unit.becomes(_1="END")
    unit.manager.aspire({"m": {1: "/elsewhere/1"}})
    unit.manager.retry_failed(0)
    unit.becomes(_1="AVAILABLE")
    assert unit.memory.loads == ["/m/1", "/elsewhere/1"]


def test_work_for_which_there_is_no_thread_waits_for_one(
    unit: Unit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            unit.aspire(1)
            unit.aspire(1, model="other")
        assert (unit.rows(), unit.rows("other")) == ({1: "START"}, {1: "START"})
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    unit.becomes("other", _1="AVAILABLE")
    assert sorted(unit.memory.loads) == ["/m/1", "/other/1"]
    assert capsys.readouterr().err.count("m/1 has to wait with its load: can't start new thread") == 1


def test_there_is_always_someone_to_answer_while_versions_change(unit: Unit) -> None:
    unit.aspire(1)
    unit.becomes(_1="AVAILABLE")
    over, missed = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            try:
                with unit.manager.handle("m", None) as (_, servable):
                    if servable.path in unit.memory.closed:
                        missed.append(servable.path)
            except Failed as failed:
                missed.append(failed.message)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, 30):
        unit.aspire(version)
        assert unit.manager.wait(
            lambda version=version: unit.rows()[version] == "AVAILABLE" and unit.rows()[version - 1] == "END",
            LIMIT_SECONDS,
        )
    over.set()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    assert missed == []
    assert unit.memory.held == 1


def test_closing_wakes_whoever_waits_and_begins_no_more_loads() -> None:
    unit = Unit(threads=1)
    unit.memory.shut("/m/1")
    unit.aspire(1)
    unit.memory.reached("/m/1")
    unit.aspire(1, model="other")
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(unit.manager.wait(lambda: False)))
    waiting.start()
    unit.manager.close()
    waiting.join(LIMIT_SECONDS)
    unit.memory.open("/m/1")
    end(unit.manager)
    assert found == [False]
    assert unit.memory.loads == ["/m/1"]


def test_nothing_of_a_version_that_failed_stays_in_memory() -> None:
    class Weights:
        pass

    seen: list[weakref.ref[Weights]] = []

    def load(_: str) -> Servable:
        weights = Weights()
        seen.append(weakref.ref(weights))
        raise Failed("NOT_FOUND", "an asset")

    manager: Manager[Servable] = Manager(load, threads=1)
    manager.aspire({"m": {1: "/m/1"}})
    assert manager.wait(lambda: manager.status("m")[0].state is State.END, LIMIT_SECONDS)
    end(manager)
    gc.collect()
    assert seen[0]() is None
    assert manager.status("m")[0].message == "an asset"


def test_a_log_that_cannot_be_written_stops_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = Unit()
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr("sys.stderr", full)
        unit.aspire(1)
        unit.becomes(_1="AVAILABLE")
        unit.aspire(2)
        unit.becomes(_1="END", _2="AVAILABLE")
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
    end(unit.manager)

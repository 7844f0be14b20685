"""What no fleet needs leaves the store, in two runs; what one needs, or is young, or among the newest, never does."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import S3
from tfsdeploy.errors import Busy, Refused, TfsdeployError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store import gc
from tfsdeploy.store.bucket import SMALL, Bucket
from tfsdeploy.store.gc import collect, unneeded
from tfsdeploy.store.notes import BucketNotes, FileNotes
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import Record
from tfsdeploy.store.refs import COMING, Life, decode, encode, forget, held, remember, sweeping
from tfsdeploy.store.store import FileStore, Store

NOW = datetime.now(UTC) + timedelta(days=14)
"""Long after what the tests publish has come to its store."""


@pytest.fixture(params=["file", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, example: Callable[..., Path]
) -> Iterator[FileStore | ObjectStore]:
    """Versions 1 to 6 of a model, committed long ago, but for 4, which is young."""
    folder = FileStore(tmp_path / "models")
    for version in range(1, 7):
        folder.publish("m", example(offset=float(version)), version)
        file = folder.version_path("m", version) / RECORD_FILE
        committed = (NOW - timedelta(days=6 if version == 4 else 19)).isoformat()
        file.write_text(json.dumps({**json.loads(file.read_bytes()), "committed": committed}))
    if request.param == "file":
        yield folder
        return
    server: S3 = request.getfixturevalue("s3")
    made = ObjectStore(server.open(request.getfixturevalue("s3_bucket")))
    for path in folder.root.rglob("*"):
        if path.is_file():
            made.bucket.put(str(path.relative_to(folder.root)), path.read_bytes())
    yield made


def run(store: Store, *, act: bool = True) -> list[tuple[int, str]]:
    """What was done; versions are swept in no order, and before others are marked."""
    rows = [(row.version, row.done) for row in collect(store, ["m"], keep=1, at=NOW, act=act)]
    assert rows == sorted(rows, key=lambda row: row[1] == "mark")
    return sorted(rows, key=lambda row: (row[1] == "mark", row[0]))


def needs(store: Store, *versions: int, fleet: str = "shop") -> None:
    remember(store.notes, fleet, "life", {"m": set(versions)}, {}, NOW)


@pytest.mark.parametrize(
    ("held", "keep", "found"),
    [
        (set(), 1, [1, 2, 3, 4]),
        ({2, 9}, 1, [1, 3, 4]),
        (set(), 3, [1, 2]),
        (set(), 0, [1, 2, 3, 4]),
        (set(), 9, []),
        ({1, 2, 3, 4, 5}, 1, []),
    ],
)
def test_what_may_go(held: set[int], keep: int, found: list[int]) -> None:
    assert unneeded([1, 2, 3, 4, 5], held, keep) == found


def test_one_run_marks_and_the_next_one_sweeps(store: FileStore | ObjectStore) -> None:
    needs(store, 2)
    assert run(store, act=False) == [(1, "mark"), (3, "mark"), (5, "mark")]
    assert run(store, act=False) == [(1, "mark"), (3, "mark"), (5, "mark")]
    assert run(store) == [(1, "mark"), (3, "mark"), (5, "mark")]
    # Needed since: the mark goes, and a later run begins anew.
    needs(store, 2, 3)
    assert run(store) == [(1, "sweep"), (5, "sweep")]
    assert store.versions("m") == [2, 3, 4, 6]
    needs(store, 2)
    assert run(store) == [(3, "mark")]
    assert run(store) == [(3, "sweep")]
    assert run(store) == []
    assert (store.versions("m"), store.uncommitted("m"), store.models()) == ([2, 4, 6], [], ["m"])
    assert store.notes.names("marks") == []


def test_what_came_lately_is_young_whenever_it_was_committed(store: FileStore | ObjectStore) -> None:
    needs(store, 2)
    came = datetime.now(UTC)
    for days, marked in ((0, []), (3, []), (8, [(1, "mark"), (3, "mark"), (5, "mark")])):
        at = came + timedelta(days=days)
        found = [(row.version, row.done) for row in collect(store, ["m"], keep=1, at=at, act=False)]
        assert found == marked, days


def test_every_fleet_and_every_life_of_it_counts(store: FileStore | ObjectStore) -> None:
    needs(store, 1)
    needs(store, 2, fleet="other")
    remember(store.notes, "shop", "elsewhere", {"m": {3}}, {}, NOW)
    assert held(store.notes) == {"shop": {"m": {1, 3}}, "other": {"m": {2}}}
    assert run(store) == [(5, "mark")]
    forget(store.notes, "shop", "life")
    forget(store.notes, "other", "life")
    assert held(store.notes) == {"shop": {"m": {3}}}
    assert run(store) == [(5, "sweep"), (1, "mark"), (2, "mark")]


def test_what_is_about_to_come_is_needed_for_a_day() -> None:
    life = Life().next({"m": {1}}, {"m": {7}}, NOW)
    assert life.numbers() == {"m": {1, 7}}
    assert decode(encode({"life": life}), "note") == {"life": life}
    assert life.next({"m": {1}}, {}, NOW + COMING / 2).numbers() == {"m": {1, 7}}
    assert life.next({"m": {1}}, {}, NOW + COMING).numbers() == {"m": {1}}


def test_a_promote_meanwhile_is_heard_or_refused(store: FileStore | ObjectStore, monkeypatch: Any) -> None:
    needs(store, 2)
    run(store)

    discard, gone = store.discard, list[int]()

    def counted(model: str, version: int) -> None:
        gone.append(version)
        discard(model, version)

    read = type(store.notes).read
    seen: list[str] = []

    def promote_after_the_word(notes: Any, name: str) -> bytes | None:
        # Between the word that it is being removed, and the look at what is needed.
        if name == "refs/shop.json" and b'"sweeping": [1, 3, 5]' in (read(notes, "marks/m.json") or b"") and not seen:
            seen.append(name)
            with pytest.raises(Refused, match="is removing version 1 of m"):
                remember(notes, "shop", "life", {"m": {2}}, {"m": {1}}, NOW)
        return read(notes, name)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(store.notes), "read", promote_after_the_word)
        meanwhile.setattr(store, "discard", counted)
        assert run(store) == [(3, "sweep"), (5, "sweep")]
    # Version 1 stayed, because its promote was heard although it was refused; it can be promoted now.
    assert (bool(seen), sorted(gone), store.versions("m")) == (True, [3, 5], [1, 2, 4, 6])
    remember(store.notes, "shop", "life", {"m": {2}}, {"m": {1}}, NOW)


def test_a_run_that_is_interrupted_says_no_more_than_it_began(store: FileStore | ObjectStore, monkeypatch: Any) -> None:
    needs(store, 2)
    run(store)
    monkeypatch.setattr(gc, "SWEEPERS", 1)
    rows = collect(store, ["m"], keep=1, at=NOW, act=True)
    assert next(rows).version in {1, 3, 5}

    def interrupted(model: str, version: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile, suppress(KeyboardInterrupt):
        meanwhile.setattr(store, "discard", interrupted)
        list(rows)
    # What was not begun can be promoted at once.
    left = store.versions("m")
    assert set(left) >= {2, 4, 6}
    assert sweeping(store.notes, "m") <= {1, 3, 5}
    assert [row[1] for row in run(store)] == ["sweep"] * (len(left) - 3)
    assert store.versions("m") == [2, 4, 6]


def test_what_is_gone_is_said_before_what_takes_longer(store: FileStore | ObjectStore, monkeypatch: Any) -> None:
    needs(store, 2)
    run(store)
    discard, others_said, said = store.discard, threading.Event(), list[int]()

    def slow(model: str, version: int) -> None:
        if version == 1:
            assert others_said.wait(30)
        discard(model, version)

    monkeypatch.setattr(store, "discard", slow)
    for row in collect(store, ["m"], keep=1, at=NOW, act=True):
        said.append(row.version)
        if len(said) == 2:
            others_said.set()
    assert (sorted(said[:2]), said[2:]) == ([3, 5], [1])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TfsdeployError("the store went away")])
def test_what_goes_while_a_run_ends_early_is_said(
    error: BaseException, store: FileStore | ObjectStore, monkeypatch: Any
) -> None:
    needs(store, 2)
    run(store)

    def ends(futures: Any) -> Any:
        raise error

    monkeypatch.setattr(gc, "as_completed", ends)
    said: list[int] = []
    with pytest.raises(type(error)):
        said.extend(row.version for row in collect(store, ["m"], keep=1, at=NOW, act=True))
    assert {*said} == {1, 3, 5} - {*store.versions("m")}
    assert sweeping(store.notes, "m") == set()


def test_what_goes_while_others_are_yet_to_be_begun_is_said(store: FileStore | ObjectStore, monkeypatch: Any) -> None:
    needs(store, 2)
    run(store)
    submit, begun = ThreadPoolExecutor.submit, threading.Event()
    discard, submitted = store.discard, list[Any]()

    def slow(model: str, version: int) -> None:
        begun.set()
        discard(model, version)

    def interrupted(pool: ThreadPoolExecutor, *call: Any) -> Any:
        if call[0].__qualname__ == "_round.<locals>.discard":
            if submitted:
                assert begun.wait(30)
                raise KeyboardInterrupt
            submitted.append(call)
        return submit(pool, *call)

    monkeypatch.setattr(store, "discard", slow)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    said: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        said.extend(row.version for row in collect(store, ["m"], keep=1, at=NOW, act=True))
    assert said == [1]
    assert 1 not in store.versions("m")
    assert sweeping(store.notes, "m") == set()


def test_a_version_that_is_published_anew_stops_nothing(store: FileStore | ObjectStore, monkeypatch: Any) -> None:
    needs(store, 2)
    run(store)
    discard = store.discard

    def busy(model: str, version: int) -> None:
        if version == 3:
            raise Busy("somebody is publishing this number")
        discard(model, version)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(store, "discard", busy)
        assert run(store) == [(1, "sweep"), (5, "sweep")]
    assert run(store) == [(3, "sweep")]


def test_what_an_interrupted_run_has_left_may_have_been_published_anew(
    store: FileStore | ObjectStore, example: Callable[..., Path], monkeypatch: Any
) -> None:
    needs(store, 2)
    run(store)
    discard = store.discard

    def killed(model: str, version: int) -> None:
        discard(model, version)
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile, suppress(KeyboardInterrupt):
        meanwhile.setattr(store, "discard", killed)
        run(store)
    gone = min(sweeping(store.notes, "m") - set(store.versions("m")))
    listed = store.versions("m")
    store.publish("m", example(offset=float(gone)), gone)
    with monkeypatch.context() as meanwhile:
        # It was published while the run began.
        meanwhile.setattr(store, "versions", lambda model: listed)
        assert gone not in [version for version, _ in run(store)]
    assert gone in store.versions("m")


def test_what_is_said_of_many_versions_grows_with_them(tmp_path: Path, monkeypatch: Any) -> None:
    """Every round says anew what is marked: so there must not be one for each version."""

    class Many(FileStore):
        def versions(self, model_name: str) -> list[int]:
            return list(range(1, count + 2))

        def dated(self, model_name: str, version: int) -> tuple[Record, datetime]:
            return Record("m", version, "", (), (NOW - timedelta(days=9)).isoformat(), ""), NOW - timedelta(days=9)

        def discard(self, model_name: str, version: int) -> None:
            return

    (tmp_path / "models").mkdir()
    written = []
    for count in (1_000, 2_000):
        made, size = Many(tmp_path / "models"), 0
        remember(made.notes, "shop", "life", {}, {}, NOW)
        swap = FileNotes.swap

        def weighed(notes: FileNotes, name: str, before: bytes | None, after: bytes | None) -> bool:
            nonlocal size
            size += len(after or b"")
            return swap(notes, name, before, after)  # noqa: B023

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(FileNotes, "swap", weighed)
            assert len(run(made)) == len(run(made)) == count
        written.append(size)
    assert written[1] < 2.2 * written[0]


@pytest.mark.parametrize("step", range(4))
def test_a_run_that_is_killed_is_finished_by_the_next(
    store: FileStore | ObjectStore, step: int, monkeypatch: Any
) -> None:
    needs(store, 2, 3)
    run(store)
    steps = iter(range(99))

    class Killed(BaseException):
        """As SIGKILL: nothing is cleaned up."""

    def maybe(do: Callable[..., Any], *, counts: bool = True) -> Callable[..., Any]:
        def either(*words: Any, **named: Any) -> Any:
            if dead or (counts and next(steps) == step):
                dead.append(True)
                raise Killed
            return do(*words, **named)

        return either

    dead: list[bool] = []
    with monkeypatch.context() as dying:
        dying.setattr(shutil, "rmtree", maybe(shutil.rmtree))
        notes = type(store.notes)
        dying.setattr(notes, "swap", maybe(notes.swap, counts=False))
        if isinstance(store, ObjectStore):
            dying.setattr(store.bucket, "delete", maybe(store.bucket.delete))
        with suppress(Killed):
            run(store)
    # Whatever is committed is whole.
    for version in store.versions("m"):
        record = store.record("m", version)
        assert record is not None
        store.verify(record)
    run(store)
    run(store)
    assert (store.versions("m"), store.uncommitted("m")) == ([2, 3, 4, 6], [])


@pytest.mark.parametrize(
    "note", [b"{", b'{"lives": {"life": {"needed": {"m": [1]}, "coming": {"m": {"2": "2026-01-01T00:00:00"}}}}}']
)
def test_a_damaged_note_stops_everything(store: FileStore | ObjectStore, note: bytes) -> None:
    assert store.notes.swap("refs/shop.json", None, note)
    with pytest.raises(TfsdeployError, match="damaged"):
        run(store)
    with pytest.raises(TfsdeployError, match="damaged"):
        needs(store, 2)
    assert store.versions("m") == [1, 2, 3, 4, 5, 6]


def test_a_store_tells_its_own_time(store: FileStore | ObjectStore) -> None:
    notes = store.notes
    assert abs(notes.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert (notes.now() <= notes.now(), notes.names("refs"), store.models()) == (True, [], ["m"])


def test_notes_are_changed_by_whoever_has_read_them(store: FileStore | ObjectStore) -> None:
    notes = store.notes
    assert notes.swap("refs/a.json", None, b"1")
    assert not notes.swap("refs/a.json", None, b"2")
    assert not notes.swap("refs/a.json", b"0", b"2")
    assert notes.swap("refs/a.json", b"1", b"2")
    threads = [
        threading.Thread(target=remember, args=(notes, "b", f"life-{number}", {"m": {number}}, {}, NOW))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n for life in decode(notes.read("refs/b.json"), "b").values() for n in life.numbers()["m"]} == {0, 1, 2, 3}
    assert notes.swap("refs/a.json", b"2", None)
    assert (notes.read("refs/a.json"), notes.names("refs")) == (None, ["b.json"])


def test_a_life_that_ends_takes_no_other_one_s_word_away(bucket: Bucket, monkeypatch: Any) -> None:
    """`down` in one place, and `up` of a fleet of the same name in another one, at the same moment."""
    notes, read = BucketNotes(bucket), bucket.get_with_stat
    remember(notes, "shop", "ends", {"m": {1}}, {}, NOW)
    reads = iter(range(9))

    def begins_meanwhile(key: str, limit: int = SMALL) -> Any:
        found = read(key, limit)
        if next(reads) == 1:
            monkeypatch.undo()
            remember(notes, "shop", "begins", {"m": {2}}, {}, NOW)
        return found

    monkeypatch.setattr(bucket, "get_with_stat", begins_meanwhile)
    forget(notes, "shop", "ends")
    assert held(notes) == {"shop": {"m": {2}}}
    forget(notes, "shop", "begins")
    assert (held(notes), notes.read("refs/shop.json")) == ({}, None)
    remember(notes, "shop", "again", {"m": {3}}, {}, NOW)
    assert held(notes) == {"shop": {"m": {3}}}


def test_nothing_is_made_where_the_store_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TfsdeployError, match="notes cannot be kept"):
        needs(FileStore(tmp_path / "unmounted"), 1)
    assert not (tmp_path / "unmounted").exists()
    assert FileNotes(tmp_path / "unmounted").names("refs") == []


@pytest.mark.parametrize("misses", [1, 99])
def test_a_note_that_is_listed_and_not_there_is_not_taken_for_none(
    store: FileStore | ObjectStore, misses: int, monkeypatch: Any
) -> None:
    needs(store, 2)
    run(store)
    read, left = type(store.notes).read, iter(range(misses))

    def missing(notes: Any, name: str) -> bytes | None:
        if name.startswith("refs/") and next(left, None) is not None:
            return None
        found: bytes | None = read(notes, name)
        return found

    monkeypatch.setattr(type(store.notes), "read", missing)
    if misses == 1:
        assert held(store.notes) == {"shop": {"m": {2}}}
        return
    with pytest.raises(TfsdeployError, match="listed, but the store says that there is none"):
        run(store)
    assert store.versions("m") == [1, 2, 3, 4, 5, 6]


def test_a_note_that_goes_while_it_is_read_is_none(store: FileStore | ObjectStore, monkeypatch: Any) -> None:
    """`down` takes it away: that is no fault."""
    needs(store, 2)
    names = type(store.notes).names

    def goes(notes: Any, folder: str) -> list[str]:
        found: list[str] = names(notes, folder)
        forget(notes, "shop", "life")
        return found

    monkeypatch.setattr(type(store.notes), "names", goes)
    assert held(store.notes) == {}

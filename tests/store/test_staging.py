"""Staging folders go when their owner is known to be gone, or they are a day old; what is in them can be of use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tfsdeploy.store.staging import DAY_SECONDS, PREFIX, Owner, lives, owner, staging, sweep, tidy

ME = owner(os.getpid())
OLD = DAY_SECONDS + 60


@pytest.fixture
def gone() -> Owner:
    """A process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = owner(process.pid)
    process.communicate(b"\n")
    return who


@pytest.mark.parametrize(
    ("who", "here", "alive"),
    [
        (ME, ME, True),
        (replace(ME, started=(ME.started or 0) + 1), ME, False),
        (replace(ME, started=None), ME, False),
        (replace(ME, namespace="pid:[1]", pid=2**22), ME, None),
        (replace(ME, host="other", machine="m2", boot="b2"), replace(ME, machine="m1"), None),
        (replace(ME, machine="m2", boot="b2"), replace(ME, machine="m1"), None),
        (replace(ME, machine="", boot="b2"), replace(ME, machine=""), None),
        (replace(ME, machine="m1", boot="b2"), replace(ME, machine="m1"), False),
    ],
    ids=[
        "myself",
        "my number, another start",
        "my number, no start",
        "another container of this machine",
        "another machine",
        "another machine of this name",
        "who knows which machine",
        "this machine before it started anew",
    ],
)
def test_who_lives(who: Owner, here: Owner, alive: bool | None) -> None:
    assert lives(who, here) is alive


def test_a_process_that_ended_does_not_live(gone: Owner) -> None:
    assert lives(gone, ME) is False


def test_a_process_that_nobody_has_waited_for_does_not_live() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = owner(process.pid)
    assert lives(who, ME) is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert lives(who, ME) is False
    process.communicate()


def test_nothing_is_left_of_a_staging_folder(tmp_path: Path) -> None:
    with staging(tmp_path, {}) as place:
        (place / "file").write_text("a")
        assert not any(path.name.isdigit() for path in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "age", "stays"),
    [
        (ME, 0, True),
        (ME, OLD, True),
        (None, 0, True),
        (None, OLD, False),
        ("nonsense", 0, True),
        ("nonsense", OLD, False),
        ('{"host": "later", "fields": 1}', 0, True),
        (replace(ME, boot="b2", machine="m2"), 0, True),
        (replace(ME, boot="b2", machine="m2"), OLD, False),
    ],
)
def test_what_may_still_be_written_to_stays(tmp_path: Path, content: Owner | str | None, age: int, stays: bool) -> None:
    place = tmp_path / f"{PREFIX}1"
    (place / "version").mkdir(parents=True)
    if content is not None:
        (place / "owner.json").write_text(content if isinstance(content, str) else json.dumps(asdict(content)))
    then = time.time() - age
    os.utime(place, (then, then))
    sweep(tmp_path)
    assert place.exists() is stays


def test_what_a_dead_publisher_left_goes_at_once(tmp_path: Path, gone: Owner) -> None:
    place = tmp_path / f"{PREFIX}1"
    (place / "version").mkdir(parents=True)
    (place / "version" / "file").write_text("a")
    (place / "owner.json").write_text(json.dumps(asdict(gone)))
    (tmp_path / f"{PREFIX}swept-2").mkdir()
    (tmp_path / "7").mkdir()
    (tmp_path / ".other").mkdir()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "7"]


def test_a_record_that_was_never_linked_goes_after_a_day(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}record-1"
    left.write_text("{}")
    sweep(tmp_path)
    assert left.exists()
    then = time.time() - OLD
    os.utime(left, (then, then))
    sweep(tmp_path)
    assert not left.exists()


def _left(folder: Path, who: Owner, files: dict[str, str]) -> Path:
    """A staging folder with files in it."""
    place = folder / f"{PREFIX}{len(list(folder.iterdir()))}"
    (place / "version").mkdir(parents=True)
    (place / "owner.json").write_text(json.dumps(asdict(who)))
    for name, content in files.items():
        (place / "version" / name).write_text(content)
    return place


def _taken(folder: Path, sizes: dict[str, int]) -> set[str]:
    with staging(folder, sizes) as place:
        return {path.name for path in place.iterdir()}


def test_what_an_ended_publisher_left_is_taken_by_one(tmp_path: Path, gone: Owner) -> None:
    """Of several that which is most like what is to come; what is not like it at all is for the sweep."""
    _left(tmp_path, gone, {"a": "12", "b": "1234"})
    _left(tmp_path, gone, {"a": "12", "b": "123456", "c": "1"})
    _left(tmp_path, gone, {"d": "12"})
    sizes = {"a": 2, "b": 4, "c": 1}
    with staging(tmp_path, sizes) as first:
        assert {path.name for path in first.iterdir()} == {"a", "b"}
        assert _taken(tmp_path, sizes) == {"a", "b", "c"}
        assert _taken(tmp_path, sizes) == set()


def test_what_an_interrupted_publisher_left_is_taken_on_any_machine(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), staging(tmp_path, {}) as place:
        (place / "a").write_text("12")
        raise KeyboardInterrupt
    (left,) = tmp_path.iterdir()
    (left / "owner.json").write_text(json.dumps(asdict(replace(ME, host="other", machine="m2", boot="b2"))))
    assert _taken(tmp_path, {"a": 2}) == {"a"}
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("who", [ME, replace(ME, boot="b2", machine="m2")], ids=["lives", "who knows"])
def test_where_somebody_may_still_write_nothing_is_taken(tmp_path: Path, who: Owner) -> None:
    """However old it is: who has a file open goes on writing into it under any name."""
    place = _left(tmp_path, who, {"a": "12"})
    then = time.time() - OLD
    os.utime(place, (then, then))
    assert _taken(tmp_path, {"a": 2}) == set()
    assert (place / "version" / "a").exists()


def test_what_is_being_removed_is_not_taken(tmp_path: Path, gone: Owner) -> None:
    _left(tmp_path, gone, {"a": "12"}).rename(tmp_path / f"{PREFIX}swept-1")
    assert _taken(tmp_path, {"a": 2}) == set()


def test_only_plain_files_of_the_version_stay(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    with staging(tmp_path, {}) as place:
        for name in ("assets/a", "assets/b", "more/c", "d/e/f", "tfsdeploy.json"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(name)
        os.link(other, place / "linked")
        (place / "soft").symlink_to(other)
        (place / "folder").symlink_to(tmp_path)
        tidy(place, {"assets/a", "more", "d/e/f", "linked", "soft", "folder/other"})
        found = {path.relative_to(place).as_posix() for path in place.rglob("*")}
        assert found == {"assets", "assets/a", "d", "d/e", "d/e/f"}
    assert other.read_text() == "mine"

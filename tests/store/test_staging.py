"""Staging folders go when their owner is known to be gone, or they are a day old."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tfsdeploy.store.staging import DAY_SECONDS, PREFIX, Owner, lives, owner, staging, sweep

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
    with staging(tmp_path) as place:
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

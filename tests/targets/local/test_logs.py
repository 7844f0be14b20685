"""Logs: rotated under a writer, read across rotations."""

from __future__ import annotations

from pathlib import Path

from tfsdeploy.targets.local.logs import Tail, logs_of, rotate


def test_a_log_that_has_grown_is_begun_anew_and_older_ones_move_on(tmp_path: Path) -> None:
    log = tmp_path / "shop-serving-1.agent.log"
    for number in range(5):
        with open(log, "a") as stream:
            stream.write(f"line {number}\n")
        rotate(log, limit=3, files=2)
    assert log.read_text() == ""
    assert {file.name: file.read_text() for file in tmp_path.glob("*.log.*")} == {
        f"{log.name}.1": "line 4\n",
        f"{log.name}.2": "line 3\n",
    }


def test_a_small_or_missing_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    rotate(log, limit=10)
    log.write_text("short")
    rotate(log, limit=10)
    assert [file.name for file in tmp_path.iterdir()] == ["a.log"]


def test_a_writer_goes_on_after_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with open(log, "ab", buffering=0) as writer:
        writer.write(b"before\n")
        rotate(log, limit=1)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"


def test_following_misses_nothing_over_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("1\n2\n3\n")
    tail = Tail(log, 2)
    assert list(tail.lines()) == ["2", "3"]
    with open(log, "a") as stream:
        stream.write("4\nha")
    assert list(tail.lines()) == ["4"]
    with open(log, "a") as stream:
        stream.write("lf\n5\n")
    rotate(log, limit=1)
    with open(log, "a") as stream:
        stream.write("6\n")
    assert list(tail.lines()) == ["half", "5", "6"]
    assert list(tail.lines()) == []


def test_the_last_lines_reach_into_the_older_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("1\n2\n")
    rotate(log, limit=1)
    log.write_text("3\n")
    assert list(Tail(log, 2).lines()) == ["2", "3"]


def test_a_log_that_is_not_there_yet_is_followed(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "a.log", 5)
    assert list(tail.lines()) == []
    (tmp_path / "a.log").write_text("hello\n")
    assert list(tail.lines()) == ["hello"]


def test_logs_are_named_by_unit_or_process(tmp_path: Path) -> None:
    for name in ("shop-serving-1.agent", "shop-serving-1.server", "shop-serving-11.agent", "supervisor"):
        (tmp_path / f"{name}.log").touch()
    assert [log.name for log in logs_of(tmp_path, ["shop-serving-1"])] == [
        "shop-serving-1.agent.log",
        "shop-serving-1.server.log",
    ]
    assert [log.name for log in logs_of(tmp_path, ["shop-serving-11.agent"])] == ["shop-serving-11.agent.log"]

"""A version is there whole and recorded, or not at all."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.store import publisher
from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import MAX_VERSION, RECORD_FILE
from tfsdeploy.store import durable, tree
from tfsdeploy.store.publish import adopt, publish
from tfsdeploy.store.record import InvalidRecord, Record, decode
from tfsdeploy.store.verify import verify

Example = Callable[..., Path]

KILLS = int(os.environ.get("TFSDEPLOY_KILLS", "12"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's folder in a store that nobody has made yet."""
    return tmp_path / "store" / "ranker"


def sound(folder: Path) -> list[int]:
    """The versions that TF Serving can see in a model's folder; each is checked to be whole."""
    versions = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    for version in versions:
        path = folder / str(version)
        record = decode((path / RECORD_FILE).read_bytes(), str(path))
        assert record.version == version
        verify(path, record)
    return versions


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.isdigit()]


def half_there(folder: Path) -> list[str]:
    """Staging folders that have come so far as to hold a version: an empty one that names no owner goes after a day."""
    return [name for name in left_over(folder) if (folder / name / "version").exists()]


def test_a_version_is_published_with_its_record(folder: Path, trained: Path) -> None:
    import tensorflow as tf

    heard: list[tuple[int, int]] = []
    record, was_there = publish(folder, "ranker", trained, 7, lambda done, total: heard.append((done, total)))
    assert not was_there
    assert (record.model, record.version, record.tensorflow) == ("ranker", 7, tf.__version__)
    assert record.by.endswith(f"@{socket.gethostname()}")
    assert heard[-1] == (record.bytes, record.bytes)
    assert heard == sorted(heard)
    assert decode((folder / "7" / RECORD_FILE).read_bytes(), "") == record
    assert sound(folder) == [7]
    assert left_over(folder) == []
    for file in record.files:
        assert (folder / "7" / file.path).read_bytes() == (trained / file.path).read_bytes()


def test_without_a_number_it_takes_the_next_free_one(folder: Path, example: Example) -> None:
    assert publish(folder, "ranker", example(), None)[0].version == 1
    (folder / "9").mkdir()
    (folder / "0011").mkdir()
    (folder / "tmp").mkdir()
    assert publish(folder, "ranker", example(), None)[0].version == 12
    assert publish(folder, "ranker", example(), None, above=7)[0].version == 13
    assert publish(folder, "ranker", example(), None, above=20)[0].version == 21


def test_the_same_bytes_again_are_already_so(folder: Path, example: Example) -> None:
    first, _ = publish(folder, "ranker", example(), 7)
    again, was_there = publish(folder, "ranker", example(), 7)
    assert was_there
    assert again == first
    assert left_over(folder) == []


def test_other_bytes_under_a_number_are_refused(folder: Path, example: Example) -> None:
    first, _ = publish(folder, "ranker", example(), 7)
    with pytest.raises(Busy) as caught:
        publish(folder, "ranker", example(3.0), 7)
    assert first.by in caught.value.message
    assert first.committed in caught.value.message
    assert sound(folder) == [7]
    assert left_over(folder) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("7", "something that is no version"), ("007", "reads the name '007'"), ("+7", "reads the name")],
)
def test_a_folder_that_has_the_number_is_left_alone(folder: Path, example: Example, name: str, words: str) -> None:
    (folder / name).mkdir(parents=True)
    with pytest.raises(Busy, match=words):
        publish(folder, "ranker", example(), 7)
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_file_that_has_the_number_is_left_alone(folder: Path, example: Example) -> None:
    folder.mkdir(parents=True)
    (folder / "7").write_text("mine")
    with pytest.raises(Busy, match="no version"):
        publish(folder, "ranker", example(), 7)
    assert (folder / "7").read_text() == "mine"


def test_a_version_of_another_tool_is_adopted_not_replaced(folder: Path, example: Example) -> None:
    shutil.copytree(example(), folder / "7")
    with pytest.raises(Busy, match="without a commit record") as caught:
        publish(folder, "ranker", example(), 7)
    assert "tfsdeploy adopt ranker 7" in caught.value.hint


@pytest.mark.parametrize("copied", [shutil.copytree, lambda old, new: new.symlink_to(old)])
def test_a_copy_under_another_number_is_not_that_version(
    folder: Path, example: Example, copied: Callable[[Path, Path], object]
) -> None:
    publish(folder, "ranker", example(), 7)
    copied(folder / "7", folder / "8")
    for attempt in (lambda: publish(folder, "ranker", example(), 8), lambda: adopt(folder, "ranker", 8)):
        with pytest.raises(InvalidRecord, match="record of ranker 7"):
            attempt()


@pytest.mark.parametrize("version", [0, -1, MAX_VERSION + 1])
def test_what_is_no_version_number_is_refused(folder: Path, example: Example, version: int) -> None:
    with pytest.raises(UsageError, match="no version number"):
        publish(folder, "ranker", example(), version)
    assert not folder.exists()


def test_what_is_no_model_is_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="the folder is empty"):
        publish(folder, "ranker", tmp_path / "empty", None)
    assert not folder.exists()


def test_links_inside_become_files(folder: Path, example: Example) -> None:
    source = example(files={"assets/words.txt": b"a b"})
    (source / "assets" / "link.txt").symlink_to("words.txt")
    (source / "more").symlink_to("assets")
    record, _ = publish(folder, "ranker", source, 1)
    assert {file.path for file in record.files} >= {"assets/link.txt", "assets/words.txt", "more/words.txt"}
    assert not any(path.is_symlink() for path in (folder / "1").rglob("*"))
    assert (folder / "1" / "more" / "link.txt").read_bytes() == b"a b"


def _link(to: str) -> Callable[[Path], None]:
    return lambda source: (source / "odd").symlink_to(to)


def _socket(source: Path) -> None:
    # The addresses of sockets have at most 107 bytes: through the folder's descriptor any place fits.
    place = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{place}/odd")
    os.close(place)


def _doubling(source: Path) -> None:
    """Folders, of which each has the one before twice: thousands to whoever follows the links.

    So few that the kernel follows a path through all of them, in whichever order they are listed.
    """
    (source / "0").mkdir()
    for n in range(1, 15):
        (source / str(n)).mkdir()
        for name in ("a", "b"):
            (source / str(n) / name).symlink_to(f"../{n - 1}")


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (_doubling, "more than 1,000 files and folders"),
        (lambda source: (source / "/".join("x" * 40)).mkdir(parents=True), "more than 32 folders deep"),
        (_link("/etc/hostname"), "leaves the model"),
        (_link(".."), "leaves the model"),
        (_link("../other"), "leaves the model"),
        (_link("."), "leads back"),
        (_link("nowhere"), "a link to nothing"),
        (lambda source: os.mkfifo(source / "odd"), "neither a file nor a folder"),
        (_socket, "neither a file nor a folder"),
        (lambda source: (source / "new\nline").write_text(""), "printable"),
        (lambda source: Path(os.fsdecode(bytes(source) + b"/\xff")).write_text(""), "printable"),
    ],
)
def test_what_cannot_be_part_of_a_version_is_refused(
    folder: Path, example: Example, add: Callable[[Path], object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MAX_ENTRIES", 1000)
    source = example()
    add(source)
    with pytest.raises(UsageError, match=words):
        publish(folder, "ranker", source, 1)
    assert not folder.exists()


def test_modes_are_for_model_servers_whatever_the_publishers(folder: Path, example: Example) -> None:
    source = example(files={"assets/words.txt": b"a"})
    (source / "assets" / "words.txt").chmod(0o4700)
    before = os.umask(0o077)
    try:
        publish(folder, "ranker", source, 1)
    finally:
        os.umask(before)
    for path in [folder, folder / "1", *(folder / "1").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize(
    "change",
    [
        lambda source: (source / "saved_model.pb").write_bytes((source / "saved_model.pb").read_bytes()),
        lambda source: (source / "late.txt").write_text("late"),
        lambda source: (source / "assets" / "words.txt").unlink(),
    ],
)
def test_a_source_that_changes_meanwhile_is_not_published(
    folder: Path, example: Example, change: Callable[[Path], object]
) -> None:
    source = example(files={"assets/words.txt": b"a"})
    changed = False

    def meanwhile(done: int, total: int) -> None:
        nonlocal changed
        if done == total and not changed:
            changed = True
            change(source)

    with pytest.raises(TfsdeployError, match="changed while it was read"):
        publish(folder, "ranker", source, 1, meanwhile)
    assert list(folder.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_nothing(folder: Path, example: Example) -> None:
    process = publisher.start(folder, example(files={"assets/large": b"x" * 100_000}), None, largest=50_000)
    publisher.go(process)
    answer = publisher.told(process)
    assert answer["exit"] == 1
    assert answer["error"].startswith(f"{folder}: ")
    assert "nothing was published" in answer["error"]
    assert list(folder.iterdir()) == []


def test_a_store_that_cannot_be_made_is_one_error(tmp_path: Path, example: Example) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(TfsdeployError, match="nothing was published"):
        publish(tmp_path / "store" / "ranker", "ranker", example(), 1)


@pytest.mark.parametrize("same", [False, True], ids=["other bytes", "same bytes"])
def test_of_publishers_of_one_number_exactly_one_wins(folder: Path, example: Example, same: bool) -> None:
    publishers = [publisher.start(folder, example(2.0 if same else float(n)), 7) for n in range(4)]
    for process in publishers:
        publisher.go(process)
    answers = [publisher.told(process) for process in publishers]
    winners = [answer for answer in answers if answer["exit"] == 0 and not answer["was_there"]]
    losers = [answer for answer in answers if answer not in winners]
    assert len(winners) == 1
    # One that had not begun to write when the winner was done finds the same bytes there, and nothing to do.
    assert all(answer["exit"] == 5 or (same and answer["was_there"]) for answer in losers)
    assert all("taken" in answer.get("error", "taken") for answer in losers)
    assert sound(folder) == [7]
    assert left_over(folder) == []


@pytest.mark.parametrize("same", [False, True], ids=["other bytes", "same bytes"])
def test_a_number_that_is_taken_while_it_is_published_is_lost(folder: Path, example: Example, same: bool) -> None:
    first: list[Record] = []

    def meanwhile(done: int, total: int) -> None:
        if done == total and not first:
            first.append(publish(folder, "ranker", example(2.0), 7)[0])

    with pytest.raises(Busy, match="taken") as caught:
        publish(folder, "ranker", example(2.0 if same else 3.0), 7, meanwhile)
    assert first[0].by in caught.value.message
    assert sound(folder) == [7]
    assert left_over(folder) == []


def test_publishers_without_a_number_each_get_their_own(folder: Path, example: Example) -> None:
    publishers = [publisher.start(folder, example(float(n)), None) for n in range(4)]
    for process in publishers:
        publisher.go(process)
    answers = [publisher.told(process) for process in publishers]
    assert sorted(answer["version"] for answer in answers) == [1, 2, 3, 4] == sound(folder)


def test_killed_at_any_point_nothing_is_half_there(folder: Path, example: Example) -> None:
    source = example(files={f"assets/{n}": bytes([n]) * 20_000 for n in range(60)})
    process = publisher.start(folder, source, None)
    begun = time.monotonic()
    publisher.go(process)
    process.wait()
    usual = time.monotonic() - begun
    process.communicate()
    points = random.Random(7)
    for _ in range(KILLS):
        for version in sound(folder):
            shutil.rmtree(folder / str(version))
        process = publisher.start(folder, source, None)
        publisher.go(process)
        try:
            # Most of them about when the commit is due.
            process.wait(points.triangular(0, 1.3 * usual, usual))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(sound(folder)) <= 1
    publish(folder, "ranker", source, None)
    assert half_there(folder) == []


@pytest.fixture
def source(example: Example) -> Path:
    """A model of some files, one of which is copied in several pieces."""
    return example(files={"variables/part": b"x" * 2_500_000, "assets/a": b"a"})


@pytest.fixture
def steps(tmp_path: Path, source: Path) -> int:
    """How many steps a publisher makes that nobody disturbs."""
    process = publisher.start(tmp_path / "counted" / "ranker", source, 7)
    publisher.go(process)
    return int(publisher.told(process)["steps"])


def _copied(folder: Path, source: Path) -> dict[str, tuple[int, int]]:
    """What a killed publisher has left that is whole: inode and time of each file."""
    found = {}
    for place in folder.glob(".staging-*/version"):
        for path in place.rglob("*"):
            of = source / path.relative_to(place)
            if path.is_file() and of.is_file() and path.read_bytes() == of.read_bytes():
                found[path.relative_to(place).as_posix()] = _identity(path)
    return found


def _identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_killed_at_every_step_the_same_push_goes_on(tmp_path: Path, source: Path, steps: int) -> None:
    """And killed again while it goes on."""

    def kill(stop: int) -> int:
        folder = tmp_path / f"killed-{stop}" / "ranker"
        for _ in range(2):
            process = publisher.start(folder, source, 7, stop=stop)
            publisher.go(process)
            publisher.is_held(process)
            process.kill()
            process.communicate()
        there, copied = (sound(folder), _copied(folder, source)) if folder.exists() else ([], {})
        _, was_there = publish(folder, "ranker", source, 7)
        assert was_there == (there == [7]), stop
        if not was_there:
            assert copied == {name: _identity(folder / "7" / name) for name in copied}, stop
        # What is left of the end of a push that was killed goes with the next one.
        publish(folder, "ranker", source, 8)
        assert sound(folder) == [7, 8], stop
        assert half_there(folder) == [], stop
        return 0 if was_there else len(copied)

    assert steps > 20
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(kill, range(1, steps + 1))) > steps


def test_paused_at_every_step_the_number_is_one_publishers(
    tmp_path: Path, example: Example, source: Path, steps: int
) -> None:
    other = example(3.0, {"variables/part": b"y" * 2_500_000})

    def race(stop: int) -> bool:
        folder = tmp_path / f"paused-{stop}" / "ranker"
        process = publisher.start(folder, source, 7, stop=stop)
        publisher.go(process)
        assert publisher.is_held(process), stop
        try:
            digest, late = publish(folder, "ranker", other, 7)[0].digest, False
        except Busy:
            digest, late = "", True
        first = publisher.told(process)
        assert (first["exit"] == 0) is late, (stop, first)
        record = decode((folder / "7" / RECORD_FILE).read_bytes(), "")
        assert record.digest == (first["digest"] if late else digest)
        assert (sound(folder), left_over(folder)) == ([7], []), stop
        return late

    with ThreadPoolExecutor(4) as pool:
        assert {*pool.map(race, range(1, steps + 1))} == {True, False}


def test_of_several_that_go_on_one_has_what_was_left(folder: Path, source: Path, steps: int) -> None:
    process = publisher.start(folder, source, None, stop=steps // 2)
    publisher.go(process)
    assert publisher.is_held(process)
    process.kill()
    process.communicate()
    publishers = [publisher.start(folder, source, None) for _ in range(4)]
    for process in publishers:
        publisher.go(process)
    assert sorted(publisher.told(process)["version"] for process in publishers) == [1, 2, 3, 4] == sound(folder)
    assert left_over(folder) == []


def _interrupt(folder: Path, source: Path, version: int | None = None) -> Path:
    """A push that is interrupted when all bytes are copied; returns where they are."""

    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(folder, "ranker", source, version, stop)
    (place,) = folder.glob(".staging-*/version")
    return place


def test_an_interrupted_push_copies_only_what_is_missing(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _interrupt(folder, source)
    assert sound(folder) == []
    (place / "assets" / "a").unlink()
    before = _copied(folder, source)
    heard: list[tuple[int, int]] = []
    record, was_there = publish(folder, "ranker", source, None, lambda done, total: heard.append((done, total)))
    assert (record.version, was_there, sound(folder), left_over(folder)) == (1, False, [1], [])
    assert before == {name: _identity(folder / "1" / name) for name in before}
    assert len(before) == len(record.files) - 1
    assert heard == sorted(heard)
    assert heard[-1] == (record.bytes, record.bytes)


@pytest.mark.parametrize("size", [1, 2])
def test_what_was_left_is_looked_at_and_not_trusted(folder: Path, source: Path, size: int) -> None:
    """A file of another length or of other bytes is copied anew, and what is no part of the version is not in it."""
    place = _interrupt(folder, source)
    (place / "assets" / "a").write_bytes(b"?" * size)
    (place / "assets" / "a").chmod(0o600)
    (place / "assets" / "late").write_bytes(b"")
    (place / RECORD_FILE).write_text("{}")
    record, _ = publish(folder, "ranker", source, None)
    assert sound(folder) == [1]
    found = {path.relative_to(folder / "1").as_posix() for path in (folder / "1").rglob("*") if path.is_file()}
    assert found == {file.path for file in record.files} | {RECORD_FILE}
    assert (folder / "1" / "assets" / "a").read_bytes() == b"a"
    assert all(stat.S_IMODE((folder / "1" / name).stat().st_mode) == 0o644 for name in found)


def test_other_bytes_are_published_over_what_was_left(folder: Path, example: Example, source: Path) -> None:
    _interrupt(folder, source, 7)
    other = example(3.0, {"variables/part": b"y" * 2_500_000, "assets/a": b"a"})
    record, _ = publish(folder, "ranker", other, 7)
    assert (sound(folder), left_over(folder)) == ([7], [])
    assert [file.path for file in record.files] == ["assets/a", "saved_model.pb", "variables/part"]


@pytest.mark.parametrize("rename", [durable.rename_new, durable.rename_plainly])
@pytest.mark.parametrize(
    ("target", "done"), [(None, True), ("empty folder", False), ("full folder", False), ("file", False)]
)
def test_a_rename_replaces_nothing(
    tmp_path: Path, rename: Callable[[Path, Path], bool], target: str | None, done: bool
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("new")
    if target == "file":
        (tmp_path / "7").write_text("old")
    elif target:
        (tmp_path / "7").mkdir()
        if target == "full folder":
            (tmp_path / "7" / "other").write_text("old")
    assert rename(tmp_path / "new", tmp_path / "7") is done
    assert (tmp_path / "7" / "file").exists() is done
    assert (tmp_path / "new").exists() is not done


def test_a_rename_that_cannot_be_done_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.rename_new(tmp_path / "nowhere", tmp_path / "7")


def test_adopting_gives_a_record_once(folder: Path, trained: Path) -> None:
    shutil.copytree(trained, folder / "7")
    record, was_there = adopt(folder, "ranker", 7)
    assert not was_there
    assert sound(folder) == [7]
    assert adopt(folder, "ranker", 7) == (record, True)
    assert left_over(folder) == []


def test_only_a_complete_version_is_adopted(folder: Path, torn: Path) -> None:
    (torn / "variables" / "variables.index").unlink()
    shutil.copytree(torn, folder / "7")
    with pytest.raises(UsageError, match="incomplete"):
        adopt(folder, "ranker", 7)
    with pytest.raises(UsageError, match="nothing is there"):
        adopt(folder, "ranker", 8)
    assert not (folder / "7" / RECORD_FILE).exists()


def test_a_record_that_appears_meanwhile_is_kept(folder: Path, example: Example) -> None:
    shutil.copytree(example(), folder / "7")
    first: list[Record] = []

    def meanwhile(done: int, total: int) -> None:
        if done == total and not first:
            first.append(adopt(folder, "ranker", 7)[0])

    assert adopt(folder, "ranker", 7, meanwhile) == (first[0], True)

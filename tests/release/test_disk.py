"""The document on disk: one winner a generation, no change without history, whole at every moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.release.behaviour import ANN, Behaviour, Opened, first
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.files import replace_file
from tfsdeploy.release import transitions
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import MAX_BYTES, InvalidRelease, Release, encode
from tfsdeploy.release.update import Author, change_model

WRITER = """
import itertools, sys
from pathlib import Path
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.update import Author, change_model
from tfsdeploy.release.transitions import label
folder = ReleaseFolder(Path(sys.argv[1]), kept=100_000)
print("ready", flush=True)
for n in itertools.count():
    change_model(folder, "m", lambda model: label(model, {f"l{n % 7}": 1}), Author("ann@desk", f"write {n}"))
"""


class TestReleaseFolder(Behaviour):
    """The behaviour of every store, on disk."""

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        return partial(ReleaseFolder, tmp_path / "shop")

    @pytest.fixture
    def written(self, tmp_path: Path) -> Callable[[str], None]:
        return lambda text: replace_file(tmp_path / "shop" / "release.json", text)

    @pytest.fixture
    def forget(self, tmp_path: Path) -> Callable[[], None]:
        return lambda: (tmp_path / "shop" / "release.json").unlink()


def count_up(path: str, model: str, times: int) -> int:
    """Make ``times`` changes of one model, in a process of its own."""
    folder = ReleaseFolder(Path(path))
    for n in range(times):
        change_model(
            folder, model, lambda before, n=n: transitions.label(before, {f"l{n}": 1}), Author(model, f"change {n}")
        )
    return times


def test_processes_that_write_different_models_all_get_through(tmp_path: Path) -> None:
    """Two operators on two models: no generation is lost, and each has its history entry."""
    folder = ReleaseFolder(tmp_path, kept=500)
    first(folder, "a", "b", "c")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        made = sum(pool.map(count_up, [str(tmp_path)] * 3, "abc", [15] * 3))
    history = ReleaseFolder(tmp_path, kept=500).history()
    assert [entry.generation for entry in history] == list(range(made + 1, 0, -1))
    assert sorted(entry.change.who for entry in history[:-1]) == sorted(["a", "b", "c"] * 15)


def test_nothing_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    """Killed at any moment: the document is whole, its history has no gap, and the next writer goes on."""
    folder = ReleaseFolder(tmp_path, kept=100_000)
    first(folder)
    dice = random.Random(7)
    for _ in range(int(os.environ.get("TFSDEPLOY_KILLS", "8"))):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer.stdout:
            writer.stdout.readline()
            started = folder.read()
            assert started is not None
            wanted = started.generation + dice.randrange(1, 12)
            while (folder.read() or started).generation < wanted:
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        generations = [entry.generation for entry in folder.history()]
        assert generations == list(range(generations[0], 0, -1))


def full_disk(path: str) -> str:
    """Try to write where files may have no more than 600 bytes."""
    folder = ReleaseFolder(Path(path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        change_model(folder, "m", lambda model: transitions.label(model, {f"label{n}": 1 for n in range(99)}), ANN)
    except TfsdeployError as error:
        return str(error)
    return "written"


def test_a_history_can_be_read_while_others_let_go_of_its_oldest(tmp_path: Path) -> None:
    few = ReleaseFolder(tmp_path, kept=2)
    first(few)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER.replace("kept=100_000", "kept=2"), str(tmp_path)], stdout=subprocess.PIPE
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            present = few.read()
            assert present is not None
            while present.generation < 300:
                assert few.history()
                present = few.read()
                assert present is not None
        finally:
            writer.kill()


def test_a_full_disk_leaves_the_fleet_as_it_was(tmp_path: Path) -> None:
    folder = ReleaseFolder(tmp_path)
    before = first(folder)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        answer = pool.submit(full_disk, str(tmp_path)).result()
    assert "cannot be written" in answer
    assert "stays as it was" in answer
    assert folder.read() == before
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".release")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "JSONDecodeError"),
        ("[]", "apiVersion is 'list'"),
        ('{"apiVersion": "tfsdeploy/v9"}', "reads 'tfsdeploy/v1'"),
        ('{"apiVersion": "tfsdeploy/v1"}', "KeyError"),
        ("[" * 100_000, "RecursionError"),
        ('{"apiVersion": "tfsdeploy/v1", "fleet": "f", "uid": "u", "generation": 1e999}', "OverflowError"),
    ],
)
def test_nonsense_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "release.json").write_text(text)
    with pytest.raises(InvalidRelease, match=said) as caught:
        ReleaseFolder(tmp_path).read()
    assert caught.value.where == str(tmp_path / "release.json")
    way_out = "use the tfsdeploy that has written it" if "v9" in text else "can be put in its place"
    assert way_out in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"traffic": {"1": 99}}, "does not add up"),
        ({"traffic": {"1": 101, "2": -1}}, "does not add up"),
        ({"traffic": {"2": 100}}, "not held"),
        ({"from": {"2": 100}}, "not held"),
        ({"labels": {"a/b": 1}}, "not allowed"),
        ({"versions": {"007": {}}}, "not a version"),
    ],
)
def test_a_state_that_must_not_be_followed(tmp_path: Path, change: dict[str, object], said: str) -> None:
    first(ReleaseFolder(tmp_path))
    document = json.loads((tmp_path / "release.json").read_text())
    document["models"]["m"] |= change
    (tmp_path / "release.json").write_text(json.dumps(document))
    with pytest.raises(InvalidRelease, match=said):
        ReleaseFolder(tmp_path).read()


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    written = first(ReleaseFolder(tmp_path))
    document = json.loads((tmp_path / "release.json").read_text())
    document["later"] = document["models"]["m"]["later"] = {"a": 1}
    (tmp_path / "release.json").write_text(json.dumps(document))
    assert ReleaseFolder(tmp_path).read() == written


def test_the_document_has_a_limit(tmp_path: Path) -> None:
    labels = {f"label{n:058d}": 1 for n in range(12)}
    model = transitions.label(transitions.add(1, "sha256:" + 64 * "0"), labels)
    release = Release("shop", "u1", 1, ANN.change(), None, {f"m{n}": model for n in range(1000)})
    with pytest.raises(InvalidRelease, match=str(MAX_BYTES)):
        encode(release)

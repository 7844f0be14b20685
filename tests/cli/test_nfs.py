"""The commands for a store on NFS: a real server, and mounts of it that can be lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Run
from tests.cli.saved_models import write_saved_model
from tests.gateway.harness import wait
from tests.nfs.server import NfsServer
from tfsdeploy.cli.impatience import TWICE_SECONDS
from tfsdeploy.store import gc
from tfsdeploy.store.notes import FileNotes
from tfsdeploy.store.refs import remember
from tfsdeploy.store.store import FileStore

pytestmark = pytest.mark.nfs

SOFT = 10.0
LIMIT = 60
FLEET = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: file://{}\nmodels: {{ranker: {{}}}}\n"


@pytest.fixture
def mount(nfs: NfsServer, tmp_path: Path) -> Iterator[Path]:
    """A mount of a node, whose calls fail when the server does not answer; fleet file and models are beside it."""
    (tmp_path / "fleet.yaml").write_text(FLEET.format(tmp_path / "mount"))
    for number, name in enumerate(("one", "two")):
        write_saved_model(tmp_path / name, number)
    with nfs.mounted(tmp_path / "mount", SOFT) as at:
        yield at


def begun(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A command in a process of its own, which can hang and be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "tfsdeploy", *words, "-o", "json"],
        cwd=folder,
        env={**os.environ, "TFSDEPLOY_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=LIMIT)
    return Ran(process.returncode, out, err)


def test_what_commands_do_there(run: Run, mount: Path, nfs: NfsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2", "3", "4"):
        assert run("push", "ranker", "one", "--version", version).code == 0
    assert "versions never change" in run("push", "ranker", "two", "--version", "4").err
    assert run("push", "ranker", "one", "--version", "4").code == 0
    assert run("verify", "-o", "json").document("verify")["checked"] == 4
    remember(FileNotes(mount), "other", "uid", {"ranker": {1}}, {}, datetime.now(UTC))
    monkeypatch.setattr(gc, "YOUNG", timedelta(0))
    for _ in ("marks", "sweeps"):
        assert run("gc", "--keep", "2", "--yes").code == 0
    versions = run("versions", "ranker", "-o", "json").document("versions")["versions"]
    assert [row["version"] for row in versions] == [1, 3, 4]
    assert sorted(name for name in os.listdir(nfs.behind / "ranker") if not name.startswith(".gc")) == ["1", "3", "4"]
    (nfs.behind / "ranker" / "3" / "saved_model.pb").write_bytes(b"rot")
    found = run("verify", "ranker", "-o", "json")
    (damaged,) = found.document("verify")["damaged"]
    assert (found.code, damaged["version"]) == (1, 3)


def test_of_publishers_on_two_nodes_exactly_one_wins(mount: Path, nfs: NfsServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "fleet.yaml").write_text(FLEET.format(other / "mount"))
    with nfs.mounted(other / "mount") as there:
        both = [
            begun(folder, "push", "ranker", str(tmp_path / source), "--version", "1")
            for folder, source in ((tmp_path, "one"), (other, "two"))
        ]
        codes = [ended(one).code for one in both]
        assert sorted(codes) == [0, 5]
        winner = (tmp_path / ("one", "two")[codes.index(0)] / "saved_model.pb").read_bytes()
        for at in (mount, there, nfs.behind):
            store = FileStore(at)
            record = store.record("ranker", 1)
            assert record is not None
            store.verify(record)
            assert (at / "ranker" / "1" / "saved_model.pb").read_bytes() == winner
        assert os.listdir(nfs.behind / "ranker") == ["1"]


def test_a_server_that_is_away_is_one_error(run: Run, mount: Path, nfs: NfsServer) -> None:
    """And no rot: nothing was read that was wrong."""
    assert run("push", "ranker", "one").code == 0
    nfs.end()
    for words in (("versions", "ranker"), ("verify", "ranker"), ("verify",), ("push", "ranker", "two"), ("gc",)):
        found = run(*words, "-o", "json")
        assert (words, found.code) == (words, 1)
        assert "Input/output error" in json.loads(found.out)["error"]["message"]
        assert "damaged" not in json.loads(found.out) or not json.loads(found.out)["damaged"]
    nfs.start()
    assert run("verify").code == 0
    assert run("push", "ranker", "two").code == 0


def test_an_export_that_was_replaced_is_one_error(run: Run, mount: Path, nfs: NfsServer, tmp_path: Path) -> None:
    assert run("push", "ranker", "one").code == 0
    nfs.replace_export()
    for words in (("versions", "ranker"), ("verify",), ("push", "ranker", "two"), ("gc",)):
        found = run(*words, "-o", "json")
        assert (words, found.code) == (words, 1)
        assert "Stale file handle" in json.loads(found.out)["error"]["message"]
    with nfs.mounted(tmp_path / "anew"):
        (tmp_path / "fleet.yaml").write_text(FLEET.format(tmp_path / "anew"))
        assert run("verify").code == 0
        assert run("push", "ranker", "two").code == 0


def test_a_mount_that_hangs_keeps_nobody(run: Run, mount: Path, nfs: NfsServer, tmp_path: Path) -> None:
    """Neither who gave a time nor who presses Ctrl-C twice; and when the server is back, the store is as it was."""
    with nfs.mounted(tmp_path / "hard"):
        (tmp_path / "fleet.yaml").write_text(FLEET.format(tmp_path / "hard"))
        assert run("push", "ranker", "one").code == 0
        nfs.pause()
        asked = (("versions", "ranker"), ("verify",), ("push", "ranker", "two"))
        timed = [begun(tmp_path, *words, "--timeout", "1s") for words in asked]
        pressed = begun(tmp_path, "versions", "ranker")
        for process in timed:
            found = ended(process)
            assert (found.code, json.loads(found.out)["error"]["code"]) == (1, 1)
            assert "not done after 1 s" in found.err
        wait("it hangs", lambda: "request_wait_answer" in Path(f"/proc/{pressed.pid}/wchan").read_text(), LIMIT)
        for _ in range(2):
            pressed.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                pressed.wait(1.2 * TWICE_SECONDS)
        assert ended(pressed).code == 130
        nfs.go_on()
        assert run("verify").code == 0
        assert run("push", "ranker", "two").code == 0

"""A fleet's state in a volume: what commands run in a container to read and write it."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.agent.replica.announce import announce, retract
from tfsdeploy.agent.replica.server import ModelServer
from tfsdeploy.agent.sources import _endpoints
from tfsdeploy.agent.state import identity, serve, swap
from tfsdeploy.release.conflict import Conflict
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.history import decode_entry
from tfsdeploy.release.model import Release, encode
from tfsdeploy.release.update import Author

HOLD = [sys.executable, "-m", "tfsdeploy", "agent", "state", "hold"]


def asked(folder: Path, *requests: object) -> list[dict[str, Any]]:
    """What the command answers, one after the other."""
    said = io.BytesIO()
    serve(folder, folder / "handed", [json.dumps(request).encode() for request in requests], said)
    return [json.loads(line) for line in said.getvalue().splitlines()]


@given(st.text())
def test_what_is_written_is_read(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write = {"do": "write", "name": "pins.json", "text": text}
        read = {"do": "read", "name": "pins.json"}
        assert asked(Path(folder), read, write, read) == [{"result": None}, {"result": None}, {"result": text}]


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "read", "name": "../passwd"},
        {"do": "write", "name": "release.json", "text": "{}"},
        {"do": "swap", "document": "{}"},
        {"do": "something"},
        [],
    ],
)
def test_what_is_no_request_is_told_and_changes_nothing(request_: object, tmp_path: Path) -> None:
    (answer,) = asked(tmp_path, request_)
    assert answer == {
        "error": "the agent of this fleet does not know this request: it is of another version",
        "exit": 1,
    }
    assert list(tmp_path.iterdir()) == []


def test_a_swap_over_the_wire_and_its_history(tmp_path: Path) -> None:
    first = Release("shop", uuid.uuid4().hex, 1, Author("ann@desk", "first").change())
    second = first.next({}, Author("ann@desk", "second").change())
    swaps = [
        {"do": "swap", "expected": "none", "document": encode(first)},
        {"do": "swap", "expected": identity(first), "document": encode(second)},
        {"do": "swap", "expected": identity(first), "document": encode(second)},
    ]
    *won, lost, history = asked(tmp_path, *swaps, {"do": "history"})
    assert won == [{"result": None}] * 2
    assert (lost["exit"], "changed meanwhile: now generation 2 by ann@desk" in lost["error"]) == (5, True)
    assert [decode_entry(text).change.command for text in history["result"]] == ["first"]


def test_what_opens_the_store_is_for_its_user_alone(tmp_path: Path) -> None:
    (tmp_path / "handed").mkdir()
    over = {"do": "hand over", "files": {"credentials.json": '{"AWS_ACCESS_KEY_ID": "key"}'}}
    assert asked(tmp_path, over, over, {"do": "hand over", "files": {}}) == [
        {"result": True},
        {"result": False},
        {"result": False},
    ]
    file = tmp_path / "handed" / "credentials.json"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ('{"AWS_ACCESS_KEY_ID": "key"}', 0o600)


def test_a_swap_has_to_find_what_it_was_made_of(tmp_path: Path) -> None:
    first = Release("shop", uuid.uuid4().hex, 1, Author("ann@desk", "first").change())
    swap(tmp_path, "none", encode(first))
    second = first.next({}, Author("ann@desk", "second").change())
    swap(tmp_path, identity(first), encode(second))
    for stale in ("none", identity(first)):
        with pytest.raises(Conflict):
            swap(tmp_path, stale, encode(second.next({}, Author("bob@desk", "third").change())))
    assert ReleaseFolder(tmp_path).read() == second


def test_the_lock_is_held_until_the_input_ends(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    argv = [*HOLD, f"--folder={tmp_path}", "--who"]
    with subprocess.Popen([*argv, "ann@desk"], stdin=pipe, stdout=pipe, text=True) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "held\n"
        second = subprocess.run([*argv, "bob@desk"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert (second.returncode, "is being changed by ann@desk" in second.stderr) == (5, True)
        first.stdin.close()
        assert first.wait(60) == 0
    third = subprocess.run([*argv, "bob@desk"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert third.stdout == "held\n"


def test_gateways_find_what_was_announced(tmp_path: Path) -> None:
    announce(tmp_path, "shop-serving-1", "127.0.0.1:8502")
    found = _endpoints(sorted(tmp_path.glob("*/endpoint.json")))
    assert found == {"shop-serving-1": "http://127.0.0.1:8502"}
    retract(tmp_path, "shop-serving-1")
    assert list(tmp_path.iterdir()) == []


def test_only_the_name_of_the_server_becomes_its_address() -> None:
    server = ModelServer("server:8501")
    server._reached = "10.0.0.7"
    assert server.located("server:8500") == "10.0.0.7:8500"
    assert server.located("192.0.2.1:8500") == "192.0.2.1:8500"
    server._reached = "fd00::7"
    assert server.located("server:8500") == "[fd00::7]:8500"

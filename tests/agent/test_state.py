"""A fleet's state in a volume: what commands run in a container to read and write it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.agent.replica.announce import announce, retract
from tfsdeploy.agent.replica.server import ModelServer
from tfsdeploy.agent.sources import _endpoints
from tfsdeploy.agent.state import WORD_BYTES, identity, packed, swap, unpacked
from tfsdeploy.release.conflict import Conflict
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Release, encode
from tfsdeploy.release.update import Author

HOLD = [sys.executable, "-m", "tfsdeploy", "agent", "state", "hold"]


@given(st.text())
def test_a_document_survives_the_command_line(text: str) -> None:
    assert unpacked(packed(text)) == text


def test_a_large_document_is_several_words() -> None:
    text = os.urandom(600_000).hex()
    words = packed(text)
    assert len(words) > 1
    assert max(map(len, words)) <= WORD_BYTES
    assert unpacked(words) == text


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
        assert first.wait(10) == 0
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

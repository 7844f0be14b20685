"""Half answers and none: what is asked of a fleet's state ends in words, and never waits for ever.

A pair of sockets stands for the connection that an engine lends: what is tested is what comes through it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tfsdeploy.targets.docker import talk
from tfsdeploy.targets.docker.talk import Denied, Ended, Talk


class Lender:
    """Lends one end of a pair; the other one says what it was told to."""

    def __init__(self, said: bytes, *, ends: bool) -> None:
        self._near, self.far = socket.socketpair()
        self.far.sendall(said)
        if ends:
            self.far.shutdown(socket.SHUT_WR)

    @contextmanager
    def opened(self, name: str, argv: Sequence[str], seconds: float | None = None) -> Iterator[Any]:
        self._near.settimeout(seconds)
        with self._near, self.far:
            yield self._near


def asked(said: bytes, *, ends: bool = False) -> Any:
    with closing(Talk(Lender(said, ends=ends), "keeper")) as made:  # type: ignore[arg-type]
        return made.ask({"do": "read"})


def frame(text: str, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text.encode()


OK = json.dumps({"result": [1]}) + "\n"


@pytest.mark.parametrize("said", [frame(OK), frame("noise", 2) + frame(OK[:5]) + frame(OK[5:])])
def test_an_answer_in_any_pieces(said: bytes) -> None:
    assert Talk(Lender(said, ends=False), "keeper").ask({"do": "read"}) == [1]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "it was stopped"),
        (frame(OK)[:3], "it was stopped"),
        (frame(OK)[:-4], "it was stopped"),
        (frame("Error: no such command", 2), "Error: no such command"),
        (frame("OCI runtime exec failed: no space left on device: unknown\r\n"), "OCI runtime exec failed"),
    ],
)
def test_an_answer_that_breaks_off(said: bytes, words: str) -> None:
    with pytest.raises(Ended, match=words):
        asked(said, ends=True)


def test_an_answer_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "SILENT_SECONDS", 0.1)
    with pytest.raises(Ended, match="timed out"):
        asked(frame(OK)[:-4])


def test_a_refusal_has_its_exit_code() -> None:
    said = frame(json.dumps({"error": "somebody else wrote", "exit": 5}) + "\n")
    with pytest.raises(Denied) as raised:
        asked(said)
    assert raised.value.exit_code == 5

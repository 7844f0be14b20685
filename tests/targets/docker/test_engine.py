"""What an engine is asked for, and one that goes away in the middle of an answer: a server of HTTP on a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.report import Silent
from tfsdeploy.targets.docker.engine import Engine

VERSION = b'{"Version": "20.10", "ApiVersion": "1.41"}'
MISSING = b'{"message": "No such image"}'


def answer(status: str, body: bytes) -> bytes:
    """A whole answer, after which the connection ends."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + body


def chunked(body: bytes, end: bytes) -> bytes:
    """An answer of which a piece comes, and then these bytes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n" + end


ROW = b'{"status": "Downloading", "id": "a", "progressDetail": {"current": 5, "total": 10}}\r\n'
PULLS = {
    "cut between rows": chunked(ROW, b""),
    "cut in a row": chunked(ROW + b'{"status": "Down', b"0\r\n\r\n"),
    "no answer": b"",
}


@pytest.fixture
def pulls() -> list[str]:
    """The paths of the pulls that the engine was asked for."""
    return []


@pytest.fixture
def engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, pulls: list[str]
) -> Iterator[Engine]:
    """One that has no image, and answers a pull as the test says."""
    pull: bytes = request.param
    listening = socket.create_server(str(tmp_path / "e"), family=socket.AF_UNIX)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(65536).split(b" ", 2)[1]
                known = {b"/version": answer("200 OK", VERSION)}
                missing = answer("404 Not Found", MISSING)
                if b"/images/create" in asked:
                    pulls.append(asked.decode())
                    connection.sendall(pull)
                else:
                    connection.sendall(known.get(asked, missing))

    server = threading.Thread(target=serve)
    server.start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/e")
    made = Engine()
    yield made
    made.client.close()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    server.join()


@pytest.mark.parametrize("engine", list(PULLS.values()), ids=list(PULLS), indirect=True)
def test_a_pull_that_breaks_off_is_one_clear_line(engine: Engine) -> None:
    with pytest.raises(TfsdeployError) as caught:
        engine.need_image("a/b:1", Silent())
    assert caught.value.message == "the Docker engine does not answer: it broke off in the middle"
    assert caught.value.hint.startswith("start it")


@pytest.mark.parametrize("engine", [chunked(b'{"error": ""}\r\n', b"0\r\n\r\n")], ids=[""], indirect=True)
def test_a_pull_that_fails_without_a_word(engine: Engine) -> None:
    with pytest.raises(TfsdeployError, match="the image a/b:1 is not there and cannot be pulled: no reason given"):
        engine.need_image("a/b:1", Silent())


DIGEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("engine", [chunked(b"", b"")], ids=[""], indirect=True)
@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("a/b", "a/b", "latest"),
        ("a/b:1", "a/b", "1"),
        ("r.example:5000/a/b", "r.example:5000/a/b", "latest"),
        ("r.example:5000/a/b:1", "r.example:5000/a/b", "1"),
        (f"a/b@{DIGEST}", "a/b", DIGEST),
        (f"r.example:5000/b@{DIGEST}", "r.example:5000/b", DIGEST),
        # The engine goes by the digest and leaves out the tag.
        (f"a/b:1@{DIGEST}", "a/b:1", DIGEST),
    ],
)
def test_an_image_is_pulled_by_its_tag_or_digest(
    engine: Engine, pulls: list[str], image: str, name: str, tag: str
) -> None:
    engine.need_image(image, Silent())
    (asked,) = pulls
    assert parse_qs(urlsplit(asked).query) == {"fromImage": [name], "tag": [tag]}

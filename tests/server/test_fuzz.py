"""Whatever arrives at the ports, the server answers the next client, keeps no descriptor, and shows no traceback.

`TFSDEPLOY_FUZZ` says how many inputs; some hundreds without it.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

from tests.models import write_half_plus_two
from tests.server.live import Live, wait

COUNT = int(os.environ.get("TFSDEPLOY_FUZZ", "400"))
SEED = int(os.environ.get("TFSDEPLOY_FUZZ_SEED", str(random.randrange(2**32))))

REST = (
    b'POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n\r\n{"instances":[1.0]}',
    b'POST /v1/models/m:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n{"instances":[1.0]}\r\n0\r\n\r\n',
    b"POST /v1/models/m:regress HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET /v1/models/m/versions/1/metadata HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n",
    b"OPTIONS /v1/models/m HTTP/1.0\r\nOrigin: http://a\r\nExpect: 100-continue\r\n\r\n",
)
# The preface, SETTINGS, and HEADERS and DATA of a Predict, as a client sends them.
GRPC = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + b"\0\0\0\4\0\0\0\0\0"
    + b"\0\0\x10\1\4\0\0\0\1"
    + b"\x83\x86"
    + b"\x44\x0c"
    + b"/a.b/Predict",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\6\4\0\0\0\0\0\0\4\0\1\0\0" + b"\0\0\5\0\1\0\0\0\1\0\0\0\0\0",
)


def _mutated(chance: random.Random, samples: tuple[bytes, ...]) -> bytes:
    raw = bytearray(chance.choice(samples))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(6):
            case 0:
                raw[at : at + chance.randrange(8)] = chance.randbytes(chance.randrange(8))
            case 1:
                del raw[at:]
            case 2:
                raw[at:at] = raw[: chance.randrange(len(raw) + 1)]
            case 3:
                raw[at:at] = chance.choice((b"\r\n", b"\n", b"\0", b" ", b":", b"%", b"\xff", b"9" * 30))
            case 4:
                raw[at:at] = b"X: " + b"a" * chance.choice((10, 70_000)) + b"\r\n"
            case _:
                raw = bytearray(chance.randbytes(chance.randrange(200)))
    return bytes(raw)


def _send(port: int, raw: bytes, chance: random.Random) -> bytes:
    """What comes back, as far as the client waits for it."""
    found = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
        cut = chance.randrange(len(raw) + 1)
        try:
            for part in (raw[:cut], raw[cut:]):
                client.sendall(part)
            match chance.randrange(3):
                case 0:
                    return b""  # it goes away without a word
                case 1:
                    client.shutdown(socket.SHUT_WR)
                case _:
                    client.settimeout(0.02)
            while part := client.recv(65536):
                found += part
        except OSError:
            pass  # it has had enough, or says no more
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("fuzz")
    write_half_plus_two(folder / "m" / "1")
    with Live(folder / "log", f"--model_base_path={folder / 'm'}", "--model_name=m") as running:
        running.serves("m", 1)
        yield running


def _descriptors(server: Live) -> int:
    return psutil.Process(server.process.pid).num_fds()


@pytest.mark.parametrize("samples", [REST, GRPC], ids=["rest", "grpc"])
def test_any_bytes_do_it_no_harm(server: Live, samples: tuple[bytes, ...]) -> None:
    chance = random.Random(SEED)
    port = server.rest_port if samples is REST else server.grpc_port
    assert server.predict("m", 1.0) == 2.5
    before = _descriptors(server)
    for number in range(COUNT):
        raw = _mutated(chance, samples)
        answer = _send(port, raw, chance)
        assert b"Traceback" not in answer, (SEED, number, raw)
    assert server.predict("m", 1.0) == 2.5, SEED
    wait("its descriptors", lambda: _descriptors(server) <= before + 2)
    assert "Traceback" not in server.said(), SEED


def test_a_slow_client_and_half_a_request_hinder_nobody(server: Live) -> None:
    before = _descriptors(server)
    halves = [socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(50)]
    for at, half in enumerate(halves):
        half.sendall(REST[0][: 1 + at])
    assert server.predict("m", 1.0) == 2.5
    for at, half in enumerate(halves):
        half.sendall(REST[0][1 + at :])
        assert half.recv(65536).startswith(b"HTTP/1.1 200 OK"), at
        half.close()
    wait("its descriptors", lambda: _descriptors(server) <= before + 2)


def test_half_a_request_behind_a_whole_one_leaves_no_connection(server: Live) -> None:
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=20) as client:
        client.sendall(REST[0] + REST[0][:20])
        client.shutdown(socket.SHUT_WR)
        found = b""
        while part := client.recv(65536):
            found += part
    assert found.startswith(b"HTTP/1.1 200 OK")

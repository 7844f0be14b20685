"""HTTP/2 without a socket: the same requests however the bytes arrive, flow control, and what ends a connection."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.server import http2_frames as http2
from tfsdeploy.server.http2 import Connection
from tfsdeploy.server.http2_frames import DATA, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame
from tfsdeploy.server.http2_sender import Stream

START = PREFACE + frame(SETTINGS, 0, 0)


class Heard:
    """Answers each request with its own body."""

    def __init__(self) -> None:
        self.connection: Connection
        self.requests: list[tuple[int, http2.Fields, bytes]] = []
        self.given_up: list[int] = []

    def opened(self, stream: Stream) -> None:
        """Nothing to do yet."""

    def received(self, stream: Stream) -> None:
        """Nothing to do yet."""

    def ended(self, stream: Stream) -> None:
        """Answer."""
        self.requests.append((stream.number, stream.head, bytes(stream.body)))
        self.connection.sender.answer(stream, b"\x88", bytes(stream.body), http2.header_field(b"grpc-status", b"0"))

    def reset(self, stream: Stream) -> None:
        """Remember."""
        self.given_up.append(stream.number)

    def pong(self, data: bytes) -> None:
        """Nothing asked."""


def opened() -> tuple[Heard, Connection]:
    """A connection that nobody has written to yet."""
    heard = Heard()
    heard.connection = Connection(heard, 100)
    return heard, heard.connection


def sent(connection: Connection) -> list[tuple[int, int, int, bytes]]:
    """What it sends: kind, flags, stream and payload of each frame."""
    out, frames = connection.sender.take(), []
    while out:
        size = int.from_bytes(out[:3], "big")
        frames.append((out[3], out[4], int.from_bytes(out[5:9], "big"), out[9 : 9 + size]))
        out = out[9 + size :]
    return frames


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.data())
def test_the_same_requests_however_the_bytes_arrive(bodies: list[bytes], data: st.DataObject) -> None:
    encoder, raw, expected = Encoder(), START, []
    for at, body in enumerate(bodies):
        number, fields = 2 * at + 1, ((b":path", b"/a"), (b"x-at", str(at).encode()), (b"user-agent", b"always"))
        block = encoder.encode(fields)
        cut = data.draw(st.integers(0, len(block)))
        raw += frame(HEADERS, 0, number, block[:cut]) + frame(http2.CONTINUATION, 4, number, block[cut:])
        raw += frame(DATA, 1, number, body)
        expected.append((number, fields, body))
    places = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    heard, connection = opened()
    for begin, end in pairwise([0, *places, len(raw)]):
        connection.receive(raw[begin:end])
    assert heard.requests == expected
    answered = [payload for kind, _, _, payload in sent(connection) if kind == DATA]
    assert answered == bodies


def test_answers_wait_for_room() -> None:
    _, connection = opened()
    connection.receive(START + frame(HEADERS, 4, 1, http2.header_field(b":path", b"/a")))
    for _ in range(10):
        connection.receive(frame(DATA, 0, 1, b"x" * 16_000))
    connection.receive(frame(DATA, 1, 1))

    def data() -> int:
        return sum(len(payload) for kind, _, _, payload in sent(connection) if kind == DATA)

    assert data() == http2.DEFAULT_WINDOW
    connection.receive(frame(WINDOW_UPDATE, 0, 1, (200_000).to_bytes(4, "big")))
    assert data() == 0
    connection.receive(frame(WINDOW_UPDATE, 0, 0, (50_000).to_bytes(4, "big")))
    assert data() == 50_000
    assert connection.sender.streams
    connection.receive(frame(WINDOW_UPDATE, 0, 0, (200_000).to_bytes(4, "big")))
    assert data() == 160_000 - http2.DEFAULT_WINDOW - 50_000
    assert not connection.sender.streams


def test_a_window_for_all_streams_counts_for_those_that_are_open() -> None:
    _, connection = opened()

    def room(size: int) -> bytes:
        return frame(SETTINGS, 0, 0, b"\0\4" + size.to_bytes(4, "big"))

    def data() -> list[int]:
        return [len(payload) for kind, _, _, payload in sent(connection) if kind == DATA]

    connection.receive(START + room(0) + HEAD + frame(DATA, 1, 1, b"x" * 100))
    assert data() == []
    connection.receive(room(60))
    assert data() == [60]
    connection.receive(room(0) + frame(WINDOW_UPDATE, 0, 1, (61).to_bytes(4, "big")))
    assert data() == [1]
    connection.receive(room(39) + frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big")))
    assert data() == [39]
    assert not connection.sender.streams


HEAD = frame(HEADERS, 4, 1, http2.header_field(b":path", b"/a"))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", http2.PROTOCOL_ERROR),
        (START + frame(DATA, 0, 1, b"x"), http2.PROTOCOL_ERROR),
        (START + frame(HEADERS, 4, 2, b""), http2.PROTOCOL_ERROR),
        (START + frame(HEADERS, 0, 1, b"") + frame(DATA, 0, 1), http2.PROTOCOL_ERROR),
        (START + frame(http2.CONTINUATION, 4, 1), http2.PROTOCOL_ERROR),
        (START + frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\x0f"), http2.COMPRESSION_ERROR),
        (START + frame(http2.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), http2.PROTOCOL_ERROR),
        (START + frame(http2.PING, 0, 0, b"short"), http2.FRAME_SIZE_ERROR),
        (START + frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"), http2.FLOW_CONTROL_ERROR),
        (START + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), http2.FLOW_CONTROL_ERROR),
        (START + b"\xff\xff\xff" + frame(DATA, 0, 1)[3:], http2.FRAME_SIZE_ERROR),
        (START + HEAD + frame(DATA, http2.PADDED, 1, b"\x05abc"), http2.PROTOCOL_ERROR),
        (START + HEAD + HEAD, http2.PROTOCOL_ERROR),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(raw: bytes, code: int) -> None:
    _, connection = opened()
    with pytest.raises(http2.ProtocolError) as raised:
        connection.receive(raw)
    assert raised.value.code == code
    kind, _, _, payload = sent(connection)[-1]
    assert (kind, int.from_bytes(payload[4:8], "big")) == (http2.GOAWAY, code)


def test_more_than_the_agreed_number_of_requests_is_refused() -> None:
    heard = Heard()
    heard.connection = connection = Connection(heard, 1)
    connection.receive(START + HEAD + frame(HEADERS, 5, 3, http2.header_field(b":path", b"/a")))
    assert (http2.RST_STREAM, 0, 3, http2.REFUSED_STREAM.to_bytes(4, "big")) in sent(connection)
    connection.receive(frame(http2.RST_STREAM, 0, 1, http2.CANCEL.to_bytes(4, "big")))
    connection.receive(frame(HEADERS, 5, 5, http2.header_field(b":path", b"/a")))
    assert ([number for number, _, _ in heard.requests], heard.given_up) == ([5], [1])


def test_who_leaves_takes_what_was_sent_before_it_knew() -> None:
    heard, connection = opened()
    connection.receive(START)
    connection.go_away(soon=True)
    connection.receive(frame(HEADERS, 5, 1, http2.header_field(b":path", b"/a")))
    connection.go_away()
    connection.receive(frame(HEADERS, 5, 3, http2.header_field(b":path", b"/a")))
    assert [number for number, _, _ in heard.requests] == [1]
    lasts = [int.from_bytes(payload[:4], "big") for kind, _, _, payload in sent(connection) if kind == http2.GOAWAY]
    assert lasts == [http2.LARGEST_WINDOW, 1]

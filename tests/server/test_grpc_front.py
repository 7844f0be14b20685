"""gRPC's front end under real clients: messages of any size, deadlines, cancellation, compression, leaving."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.wire import Grpc, one_by_one
from tests.server.live import wait
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.channel import Limits
from tfsdeploy.server.grpc_front import Front
from tfsdeploy.server.http2_frames import PREFACE, frame, header_field
from tfsdeploy.server.pace import WouldWait
from tfsdeploy.server.workers import Workers

LARGE = 20 * 2**20
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Served:
    """A front end of its own, with methods that need no model."""

    def __init__(self, limits: Limits) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._limits = limits
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)

    async def _listen(self) -> None:
        methods = {
            b"/echo": self._echo, b"/wait": self._wait, b"/fail": self._fail,
            b"/may-wait": lambda message, may_wait: b"yes" if may_wait else b"no",
        }  # fmt: skip
        self.front = Front(methods, {b"/watch": lambda message: b"\x08\x01"}, Workers(self._loop, 8, "w"), self._limits)
        server = await self._loop.create_server(self.front.connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server

    def call(self, what: Any) -> None:
        """Have something done on the loop."""
        self._loop.call_soon_threadsafe(what)

    def close(self) -> None:
        """End."""
        self.go_on.set()

        def end() -> None:
            self._server.close()
            for connection in list(self.front.connections):
                connection.abort()
            self.front.workers.close()
            self._loop.call_later(0.05, self._loop.stop)

        self.call(end)
        self._thread.join(20)
        self._loop.close()

    def _echo(self, message: bytes, may_wait: bool) -> bytes:
        return message

    def _wait(self, message: bytes, may_wait: bool) -> bytes:
        if not may_wait:
            raise WouldWait
        self.begun.set()
        self.go_on.wait(20)
        return message

    def _fail(self, message: bytes, may_wait: bool) -> bytes:
        if message == b"bug":
            raise ZeroDivisionError("nobody catches this")
        raise Failed("FAILED_PRECONDITION", message.decode())


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    found = Served(getattr(request, "param", Limits()))
    yield found
    found.close()


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{served.port}", UNLIMITED) as opened:
        yield opened


def code_of(raised: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    name: str = raised.value.code().name
    return name


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 2**20, LARGE])
def test_messages_of_any_size_go_there_and_back(channel: grpc.Channel, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert channel.unary_unary("/echo")(message, timeout=60) == message


def test_many_at_a_time_on_one_connection(channel: grpc.Channel) -> None:
    messages = [bytes([at]) * (at * 4096) for at in range(200)]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(lambda one: channel.unary_unary("/echo")(one, timeout=60), messages)) == messages


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages(channel: grpc.Channel, compression: grpc.Compression) -> None:
    message = b"twice " * 10_000
    assert channel.unary_unary("/echo")(message, timeout=20, compression=compression) == message


def test_what_is_to_be_inflated_is_not_for_the_event_loop(channel: grpc.Channel) -> None:
    assert channel.unary_unary("/may-wait")(b"", timeout=20) == b"no"
    bomb = bytes(2**24)
    assert channel.unary_unary("/may-wait")(bomb, timeout=20, compression=grpc.Compression.Gzip) == b"yes"


def raw(served: Served, data: bytes, *, flags: int = 1, encoding: bytes = b"gzip", after: bytes, until: bytes) -> bytes:
    """What comes back for a request, up to what is waited for."""
    head = {b":method": b"POST", b":path": b"/echo", b":scheme": b"http", b"content-type": b"application/grpc"}
    block = b"".join(header_field(name, value) for name, value in {**head, b"grpc-encoding": encoding}.items())
    received = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(PREFACE + frame(4, 0, 0) + frame(1, 4, 1, block) + frame(0, flags, 1, data) + after)
        while until not in received:
            more = client.recv(65536)
            assert more, received
            received += more
    return received


def test_what_was_asked_before_garbage_is_answered_and_the_garbage_named(served: Served) -> None:
    ask = b"\0\0\0\0\3abc"
    assert ask in raw(served, ask, after=frame(6, 0, 1), until=b"PING of a stream")
    nobody_asked = frame(6, 1, 0, b"tfs-here") + frame(6, 0, 0, b"whatever")
    assert ask in raw(served, ask, after=nobody_asked, until=b"whatever")


@pytest.mark.parametrize(
    ("data", "flags", "encoding", "status"),
    [
        (b"\0\0\0\0\3abcd", 0, b"identity", b"12"),  # more than one message: nobody waits for its end
        (b"\0\0\0\0\3ab", 1, b"identity", b"13"),
        (b"\1\0\0\0\3abc", 1, b"br", b"12"),
        (b"\1\0\0\0\3abc", 1, b"gzip", b"13"),
        (b"\1\0\0\0\x14" + gzip.compress(b"abc", mtime=0)[:20], 1, b"gzip", b"13"),
    ],
)
def test_what_is_not_one_whole_message_is_refused(
    served: Served, data: bytes, flags: int, encoding: bytes, status: bytes
) -> None:
    raw(served, data, flags=flags, encoding=encoding, after=b"", until=header_field(b"grpc-status", status))


def test_failures_have_a_code_and_a_text(channel: grpc.Channel) -> None:
    for text in ("", "plain", "100 % möglich\nin zwei Zeilen", "x" * 3000):
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary("/fail")(text.encode(), timeout=20)
        cut = text if len(text) <= 1024 else text[:1024] + "...TRUNCATED"
        assert (code_of(raised), raised.value.details()) == ("FAILED_PRECONDITION", cut)
    for method, message, code in (("/fail", b"bug", "INTERNAL"), ("/none", b"", "UNIMPLEMENTED")):
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(method)(message, timeout=20)
        assert code_of(raised) == code


def test_a_deadline_ends_the_wait_and_nothing_else(served: Served, channel: grpc.Channel) -> None:
    waiting = channel.unary_unary("/wait").future(b"1", timeout=20)
    assert served.begun.wait(20)
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/wait")(b"2", timeout=0.1)
    assert code_of(raised) == "DEADLINE_EXCEEDED"
    assert channel.unary_unary("/echo")(b"3", timeout=20) == b"3"
    served.go_on.set()
    assert waiting.result() == b"1"


def test_what_stands_in_line_is_not_begun_when_it_is_given_up(served: Served, channel: grpc.Channel) -> None:
    calls = [channel.unary_unary("/wait").future(b"x", timeout=20) for _ in range(40)]
    assert served.begun.wait(20)
    for call in calls:
        call.cancel()
    assert channel.unary_unary("/echo")(b"y", timeout=20) == b"y"
    wait("no stream is left", lambda: all(not one._sender.streams for one in served.front.connections))


@pytest.mark.parametrize("served", [Limits(received_bytes=100, sent_bytes=50)], indirect=True)
def test_messages_beyond_the_limits_are_refused(channel: grpc.Channel) -> None:
    assert channel.unary_unary("/echo")(b"x" * 50, timeout=20) == b"x" * 50
    for size, words in ((101, "Received message larger than max (101 vs. 100)"), (51, "Sent message larger than max")):
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary("/echo")(b"x" * size, timeout=20)
        assert code_of(raised) == "RESOURCE_EXHAUSTED"
        assert words in raised.value.details()
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/echo")(b"x" * LARGE, timeout=20)
    assert code_of(raised) == "RESOURCE_EXHAUSTED"


def test_a_watch_goes_on_until_the_server_leaves(served: Served, channel: grpc.Channel) -> None:
    watch = channel.unary_stream("/watch")(b"", timeout=20)
    assert next(watch) == b"\x08\x01"
    served.call(lambda: [one.leave() for one in served.front.connections])
    assert list(watch) == [b"\x08\x02"]


def test_a_watch_that_begins_while_the_server_leaves_is_over_at_once(served: Served) -> None:
    head = {b":method": b"POST", b":path": b"/watch", b":scheme": b"http", b"content-type": b"application/grpc"}
    block = b"".join(header_field(name, value) for name, value in head.items())
    left = threading.Event()
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(PREFACE + frame(4, 0, 0))
        wait("it is there", lambda: len(served.front.connections) == 1)
        served.call(lambda: ([one.leave() for one in served.front.connections], left.set()))
        assert left.wait(20)
        client.sendall(frame(1, 4, 1, block) + frame(0, 1, 1, bytes(5)))
        received = b""
        while more := client.recv(4096):
            received += more
    assert received.index(b"\x08\x01") < received.index(b"\x08\x02")


def test_what_is_given_up_in_line_leaves_no_message_there() -> None:
    class Message:
        pass

    loop, go_on = asyncio.new_event_loop(), threading.Event()
    workers = Workers(loop, 1, "w")
    workers.answer(lambda may_wait: go_on.wait(20), lambda answer: None, small=False)
    message = Message()
    gone = weakref.ref(message)
    standing = workers.answer(lambda may_wait, message=message: message, lambda answer: None, small=False)
    del message
    assert standing is not None
    standing.cancel()
    assert gone() is None
    go_on.set()
    workers.close()
    loop.close()


def test_who_leaves_answers_what_is_in_flight_and_clients_go_on(served: Served, channel: grpc.Channel) -> None:
    waiting = channel.unary_unary("/wait").future(b"1", timeout=20)
    assert served.begun.wait(20)
    (first,) = served.front.connections
    served.call(first.leave)
    # Meanwhile the client opens another connection.
    assert channel.unary_unary("/echo")(b"2", timeout=20, wait_for_ready=True) == b"2"
    assert first in served.front.connections
    served.go_on.set()
    assert waiting.result() == b"1"
    wait("the first is closed", lambda: first not in served.front.connections)


@pytest.mark.parametrize("served", [Limits(age_seconds=0.2, grace_seconds=10.0)], indirect=True)
def test_connections_grow_old_without_a_failure(served: Served, channel: grpc.Channel) -> None:
    seen, end = set(), time.monotonic() + 20
    while len(seen) < 4 and time.monotonic() < end:
        assert channel.unary_unary("/echo")(b"x", timeout=20) == b"x"
        seen |= served.front.connections
    assert len(seen) >= 4


@pytest.mark.parametrize("served", [Limits(keepalive_seconds=0.05, keepalive_timeout_seconds=3.0)], indirect=True)
def test_who_answers_no_ping_is_gone(served: Served, channel: grpc.Channel) -> None:
    assert channel.unary_unary("/echo")(b"x", timeout=20) == b"x"
    (first,) = served.front.connections
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as silent:
        silent.sendall(PREFACE + frame(4, 0, 0))
        with suppress(ConnectionError):
            while silent.recv(4096):
                pass
    wait("the silent one is gone", lambda: served.front.connections == {first})
    assert channel.unary_unary("/echo")(b"x", timeout=20) == b"x"


@pytest.mark.parametrize("served", [Limits(keepalive_seconds=4.0, keepalive_timeout_seconds=0.5)], indirect=True)
def test_who_reads_a_large_answer_slowly_is_there(served: Served) -> None:
    size = 10 * 2**20  # more than the system's buffers hold
    body = b"\0" + size.to_bytes(4, "big") + bytes(size)
    head = {b":method": b"POST", b":path": b"/echo", b":scheme": b"http", b"content-type": b"application/grpc"}
    block = b"".join(header_field(name, value) for name, value in head.items())
    parts = [body[at : at + 16_000] for at in range(0, len(body), 16_000)]
    with socket.socket() as client:
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.connect(("127.0.0.1", served.port))
        client.sendall(PREFACE + frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff") + frame(8, 0, 0, (2**30).to_bytes(4, "big")))
        client.sendall(frame(1, 4, 1, block) + b"".join(frame(0, 0, 1, part) for part in parts) + frame(0, 1, 1))
        wait("it is there", lambda: len(served.front.connections) == 1)
        with pytest.raises(AssertionError, match="it is given up"):
            wait("it is given up", lambda: not served.front.connections, 5.0)
        received = 0
        while received < size:
            more = client.recv(2**20)
            assert more
            received += len(more)


@pytest.mark.parametrize(
    ("fields", "status"),
    [((b":method", b"GET"), b"405"), ((b"content-type", b"text/html"), b"415"), ((b"grpc-timeout", b"soon"), b"400")],
)
def test_what_is_no_grpc_is_answered_by_http(served: Served, fields: tuple[bytes, bytes], status: bytes) -> None:
    head = {b":method": b"POST", b":path": b"/echo", b":scheme": b"http", b"content-type": b"application/grpc"}
    block = b"".join(header_field(name, value) for name, value in {**head, fields[0]: fields[1]}.items())
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(PREFACE + frame(4, 0, 0) + frame(1, 5, 1, block))
        received = b""
        while b"\x08\x03" + status not in received:
            more = client.recv(4096)
            assert more
            received += more


@given(
    st.lists(
        st.binary(max_size=60)
        | st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=40)),
        max_size=8,
    )
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_ends_its_own_connection_alone(served: Served, parts: list[Any]) -> None:
    garbage = b"".join(one if isinstance(one, bytes) else frame(*one) for one in parts)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(PREFACE + garbage)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    after = Grpc(served.port, "/echo", b"x")
    assert one_by_one(after, 1).seconds
    after.socket.close()

"""gRPC's front end: messages, deadlines and statuses over HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md), on the event loop."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import quote

from google.protobuf.message import DecodeError

from tfsdeploy.protocol.status import Failed, grpc_message, grpc_number
from tfsdeploy.server import http2
from tfsdeploy.server.channel import Limits
from tfsdeploy.server.flags import say
from tfsdeploy.server.pace import SMALL_BYTES, WouldWait
from tfsdeploy.server.workers import Workers

Method = Callable[[bytes, bool], bytes]
"""A request's message, and whether it may wait, to the answer's; raises `Failed` and `WouldWait`."""

_STATUS = b"\x88"  # :status 200 is in HPACK's own table, and so are other names
_CONTENT_TYPE = b"\x0f\x10\x10application/grpc"
HEAD: Final = _STATUS + _CONTENT_TYPE + http2.field(b"grpc-accept-encoding", b"identity, deflate, gzip")
OK: Final = http2.field(b"grpc-status", b"0")
NOT_SERVING: Final = b"\x08\x02"

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_KNOWN_HEADS = 256
_GOING = b"tfs-goes"
_THERE = b"tfs-here"
_GOAWAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Head:
    """What a request's header fields say.

    Attributes:
        path: the method.
        seconds: until its deadline.
        encoding: of compressed messages.
        refusal: HTTP status, if it is no gRPC request.
    """

    path: bytes
    seconds: float | None
    encoding: bytes
    refusal: bytes


@dataclass(frozen=True, slots=True)
class _Packed:
    """How a message is compressed, and what it may be inflated to, in bytes."""

    encoding: bytes
    most: int


@dataclass(slots=True)
class Front:
    """What all connections share.

    Attributes:
        methods: by path.
        watches: by path; what such a request is answered with at once, to go on for as long as the client likes.
        workers: answer.
        limits: of connections and messages.
        connections: those that are open.
    """

    methods: Mapping[bytes, Method]
    watches: Mapping[bytes, Callable[[bytes], bytes]]
    workers: Workers
    limits: Limits
    connections: set[Connection] = field(default_factory=set)
    heads: dict[http2.Fields, _Head] = field(default_factory=dict)

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def head_of(self, fields: http2.Fields) -> _Head:
        """What header fields say; most requests of a client say the same."""
        head = self.heads.get(fields)
        if head is None:
            if len(self.heads) >= _KNOWN_HEADS:
                self.heads.clear()
            head = self.heads[fields] = _read(fields)
        return head


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        front: shared with the others.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._http = http2.Connection(self, front.limits.most_streams)
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiting: dict[http2.Stream, tuple[Future[None], asyncio.TimerHandle | None]] = {}
        self._watching: set[http2.Stream] = set()
        self._busy = False
        self._full = False
        self._leaving = False

    # What asyncio tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        """A client is there."""
        self._transport = transport
        self._front.connections.add(self)
        transport.write(self._http.take())
        limits = self._front.limits
        self._later("age", limits.age_seconds, self.leave)
        self._later("idle", limits.idle_seconds, self.leave)
        self._later("keepalive", limits.keepalive_seconds, self._ask_whether_there)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client; whatever is quick to answer is answered before more are read."""
        broken = False
        self._busy = True
        try:
            self._http.receive(data)
        except http2.ProtocolError:
            broken = True
        finally:
            self._busy = False
        self._flush()
        if broken:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone, and does not want its answers."""
        self._front.connections.discard(self)
        self._leaving = True
        for timer in self._timers.values():
            timer.cancel()
        for stream in self._http.streams():
            stream.closed = True
            self.reset(stream)

    def pause_writing(self) -> None:
        """It does not read what it is sent: nothing more is taken from it until it does, its pings' answers neither."""
        self._full = True
        self._cancel("there")
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._full = False
        self._transport.resume_reading()

    # What HTTP/2 tells.

    def opened(self, stream: http2.Stream) -> None:
        """A request has begun."""
        head = stream.context = self._front.head_of(stream.head)
        self._cancel("idle")
        if head.refusal:
            # A status that is in no table: HPACK's index 8 names :status.
            self._http.answer(stream, b"", None, b"\x08\x03" + head.refusal)

    def received(self, stream: http2.Stream) -> None:
        """More of a message; one that is too large, or more than one, is not collected."""
        try:
            _check(stream.body, self._front.limits.received_bytes)
        except Failed as failed:
            self._fail(stream, failed)

    def ended(self, stream: http2.Stream) -> None:
        """A request is complete."""
        if stream.closed:
            return
        head = stream.context
        assert isinstance(head, _Head)
        method = self._front.methods.get(head.path)
        deadline = None if head.seconds is None else time.monotonic() + head.seconds
        try:
            if method is None and head.path not in self._front.watches:
                raise Failed("UNIMPLEMENTED", "")
            message = _message(stream.body, self._front.limits.received_bytes)
            packed = _Packed(head.encoding, self._front.limits.received_bytes) if stream.body[0] else None
            if method is None:
                asked = _inflated(message, _Packed(head.encoding, SMALL_BYTES)) if packed else message
                self._http.begin(stream, HEAD, _framed(self._front.watches[head.path](asked)))
                self._watching.add(stream)
                return
        except Failed as failed:
            self._fail(stream, failed)
            return
        stream.body = bytearray()
        future = self._front.workers.answer(
            partial(_answer, method, message, packed, deadline),
            partial(self._answered, stream),
            small=packed is None and len(message) <= SMALL_BYTES,
        )
        if future is not None:
            timer = None if head.seconds is None else self._loop.call_later(head.seconds, self._late, stream)
            self._waiting[stream] = (future, timer)

    def reset(self, stream: http2.Stream) -> None:
        """A request was given up."""
        self._watching.discard(stream)
        future, timer = self._waiting.pop(stream, (None, None))
        if future is not None:
            future.cancel()
        if timer is not None:
            timer.cancel()
        self._flush()

    def pong(self, data: bytes) -> None:
        """The client has answered a ping."""
        if data == _GOING:
            self._go()
        elif data == _THERE:
            self._cancel("there")

    # What is done.

    def leave(self) -> None:
        """Let the client ask elsewhere from now on; what it has asked is answered."""
        if self._leaving:
            return
        self._leaving = True
        self._http.go_away(soon=True)
        # What the client sent before it knew is here when the ping comes back.
        self._http.ping(_GOING)
        self._later("going", _GOAWAY_SECONDS, self._go)
        self._later("grace", self._front.limits.grace_seconds, self.abort)
        for stream in list(self._watching):
            self._http.more(stream, _framed(NOT_SERVING))
            self._http.answer(stream, b"", None, OK)
            self._watching.discard(stream)
        self._flush()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    def _go(self) -> None:
        if self._cancel("going"):
            self._http.go_away()
            self._flush()

    def _ask_whether_there(self) -> None:
        if "there" not in self._timers and not self._full:
            self._http.ping(_THERE)
            self._later("there", self._front.limits.keepalive_timeout_seconds, self.abort)
            self._flush()
        self._later("keepalive", self._front.limits.keepalive_seconds, self._ask_whether_there)

    def _answered(self, stream: http2.Stream, answer: bytes | Failed) -> None:
        if stream in self._waiting:
            _, timer = self._waiting.pop(stream)
            if timer is not None:
                timer.cancel()
        if isinstance(answer, Failed):
            self._fail(stream, answer)
        elif len(answer) > self._front.limits.sent_bytes:
            self._fail(stream, _too_large("Sent", len(answer), self._front.limits.sent_bytes))
        else:
            self._http.answer(stream, HEAD, _framed(answer), OK)
            self._flush()

    def _late(self, stream: http2.Stream) -> None:
        self.reset(stream)
        self._fail(stream, _late())

    def _fail(self, stream: http2.Stream, failed: Failed) -> None:
        tail = _STATUS + _CONTENT_TYPE + http2.field(b"grpc-status", str(grpc_number(failed.code)).encode())
        if failed.message:
            text = grpc_message(failed.message).encode("utf-8", errors="surrogateescape")
            tail += http2.field(b"grpc-message", quote(text, safe=_PRINTABLE).encode())
        self._http.answer(stream, b"", None, tail)
        self._flush()

    def _flush(self) -> None:
        if self._busy:  # at the end of what is being read, all at once
            return
        out = self._http.take()
        if out and not self._transport.is_closing():
            self._transport.write(out)
        if self._http.idle:
            if self._leaving and "going" not in self._timers:
                self._transport.close()
            elif "idle" not in self._timers:
                self._later("idle", self._front.limits.idle_seconds, self.leave)

    def _later(self, name: str, seconds: float | None, then: Callable[[], None]) -> None:
        if seconds is not None:
            self._timers[name] = self._loop.call_later(seconds, then)

    def _cancel(self, name: str) -> bool:
        """Whether there was such a timer."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        return timer is not None


# grpc-message: percent-encoded but for these.
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def _answer(
    method: Method, message: bytes, packed: _Packed | None, deadline: float | None, wait: bool
) -> bytes | Failed:
    """The method's answer, in any case."""
    if deadline is not None and time.monotonic() >= deadline:
        return _late()  # nobody waits for it any more; the model has better things to do
    try:
        return method(message if packed is None else _inflated(message, packed), wait)
    except WouldWait:
        raise
    except Failed as failed:
        return failed
    except DecodeError:
        return Failed("INTERNAL", "")
    except Exception as error:  # what it was is for this server's own log
        say(f"{type(error).__name__} while answering: {error}")
        return Failed("INTERNAL", f"{type(error).__name__}: {error}")


def _read(fields: http2.Fields) -> _Head:
    found = dict(fields)
    refusal = b""
    if found.get(b":method") != b"POST":
        refusal = b"405"
    elif not found.get(b"content-type", b"").startswith(b"application/grpc"):
        refusal = b"415"
    timeout = found.get(b"grpc-timeout", b"")
    seconds = None
    if timeout[:-1].isdigit() and len(timeout) <= 9 and timeout[-1:] in _UNITS:
        seconds = int(timeout[:-1]) * _UNITS[timeout[-1:]]
    elif timeout:
        refusal = b"400"
    return _Head(found.get(b":path", b""), seconds, found.get(b"grpc-encoding", b"identity"), refusal)


def _check(body: bytearray, most: int) -> int:
    """The size of a request's message, as far as it has come.

    Raises:
        Failed: it is too large, or not the only one.
    """
    size = int.from_bytes(body[1:5], "big") if len(body) >= 5 else 0
    if size > most:
        raise _too_large("Received", size, most)
    if len(body) > 5 + size:
        raise Failed("UNIMPLEMENTED", "this method takes exactly one message")
    return size


def _message(body: bytearray, most: int) -> bytes:
    """The one message of a request.

    Raises:
        Failed: there is none, or it is not whole.
    """
    size = _check(body, most)
    if not body:
        raise Failed("UNIMPLEMENTED", "this method takes exactly one message")
    if len(body) < 5 + size or body[0] > 1:
        raise Failed("INTERNAL", "the message is not complete")
    return bytes(memoryview(body)[5:])


def _inflated(message: bytes, packed: _Packed) -> bytes:
    """A compressed message, as it was; some kilobytes may be gigabytes: not for the event loop."""
    if packed.encoding not in (b"gzip", b"deflate"):
        name = packed.encoding.decode(errors="replace")
        raise Failed("UNIMPLEMENTED", f"Compression algorithm '{name}' is not known")
    stream = zlib.decompressobj(wbits=31 if packed.encoding == b"gzip" else 15)
    try:
        inflated = stream.decompress(message, packed.most + 1)
    except zlib.error as error:
        raise Failed("INTERNAL", f"a message that cannot be inflated: {error}") from error
    if len(inflated) > packed.most:
        raise _too_large("Received", len(inflated), packed.most)
    if not stream.eof:
        raise Failed("INTERNAL", "a message that cannot be inflated: its end is missing")
    return inflated


def _framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _too_large(what: str, size: int, most: int) -> Failed:
    return Failed("RESOURCE_EXHAUSTED", f"{what} message larger than max ({size} vs. {most})")


def _late() -> Failed:
    return Failed("DEADLINE_EXCEEDED", "Deadline Exceeded")

"""gRPC's front end: connections, deadlines and statuses over HTTP/2, on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import quote

from google.protobuf.message import DecodeError

from tfsdeploy.protocol.status import Failed, grpc_message, grpc_number
from tfsdeploy.server.channel import Limits
from tfsdeploy.server.flags import say
from tfsdeploy.server.grpc_framing import Head, Packed, checked_size, framed, head_of, inflate, one_message, too_large
from tfsdeploy.server.http2 import Connection as Http2
from tfsdeploy.server.http2_frames import Fields, ProtocolError, header_field
from tfsdeploy.server.http2_sender import Stream
from tfsdeploy.server.pace import SMALL_BYTES, WouldWait
from tfsdeploy.server.workers import Standing, Workers

Method = Callable[[bytes, bool], bytes]
"""A request's message, and whether it may wait, to the answer's; raises `Failed` and `WouldWait`."""

_STATUS = b"\x88"  # :status 200 is in HPACK's own table, and so are other names
_CONTENT_TYPE = b"\x0f\x10\x10application/grpc"
HEAD: Final = _STATUS + _CONTENT_TYPE + header_field(b"grpc-accept-encoding", b"identity, deflate, gzip")
OK: Final = header_field(b"grpc-status", b"0")
NOT_SERVING: Final = b"\x08\x02"

_KNOWN_HEADS = 256
_GOING = b"tfs-goes"
_THERE = b"tfs-here"
_GOAWAY_SECONDS = 1.0


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
    heads: dict[Fields, Head] = field(default_factory=dict)

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def known_head(self, fields: Fields) -> Head:
        """What header fields say; most requests of a client say the same."""
        head = self.heads.get(fields)
        if head is None:
            if len(self.heads) >= _KNOWN_HEADS:
                self.heads.clear()
            head = self.heads[fields] = head_of(fields)
        return head


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        front: shared with the others.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._http = Http2(self, front.limits.most_streams)
        self._sender = self._http.sender
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiting: dict[Stream, tuple[Standing, asyncio.TimerHandle | None]] = {}
        self._watching: set[Stream] = set()
        self._busy = False
        self._full = False
        self._leaving = False

    # What asyncio tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        """A client is there."""
        self._transport = transport
        self._front.connections.add(self)
        transport.write(self._sender.take())
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
        except ProtocolError:
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
        for stream in list(self._sender.streams.values()):
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

    def opened(self, stream: Stream) -> None:
        """A request has begun."""
        head = stream.context = self._front.known_head(stream.head)
        self._cancel("idle")
        if head.refusal:
            # A status that is in no table: HPACK's index 8 names :status.
            self._sender.answer(stream, b"", None, b"\x08\x03" + head.refusal)

    def received(self, stream: Stream) -> None:
        """More of a message; one that is too large, or more than one, is not collected."""
        try:
            checked_size(stream.body, self._front.limits.received_bytes)
        except Failed as failed:
            self._fail(stream, failed)

    def ended(self, stream: Stream) -> None:
        """A request is complete."""
        if stream.closed:
            return
        head = stream.context
        assert isinstance(head, Head)
        method = self._front.methods.get(head.path)
        deadline = None if head.seconds is None else time.monotonic() + head.seconds
        try:
            if method is None and head.path not in self._front.watches:
                raise Failed("UNIMPLEMENTED", "")
            message = one_message(stream.body, self._front.limits.received_bytes)
            packed = Packed(head.encoding, self._front.limits.received_bytes) if stream.body[0] else None
            if method is None:
                asked = inflate(message, Packed(head.encoding, SMALL_BYTES)) if packed else message
                self._sender.begin(stream, HEAD, framed(self._front.watches[head.path](asked)))
                self._watching.add(stream)
                if self._leaving:
                    self._end_watches()
                return
        except Failed as failed:
            self._fail(stream, failed)
            return
        stream.body = bytearray()
        standing = self._front.workers.answer(
            partial(_answer, method, message, packed, deadline),
            partial(self._answered, stream),
            small=packed is None and len(message) <= SMALL_BYTES,
        )
        if standing is not None:
            timer = None if head.seconds is None else self._loop.call_later(head.seconds, self._late, stream)
            self._waiting[stream] = (standing, timer)

    def reset(self, stream: Stream) -> None:
        """A request was given up."""
        self._watching.discard(stream)
        standing, timer = self._waiting.pop(stream, (None, None))
        if standing is not None:
            standing.cancel()
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
        self._sender.ping(_GOING)
        self._later("going", _GOAWAY_SECONDS, self._go)
        self._later("grace", self._front.limits.grace_seconds, self.abort)
        self._end_watches()
        self._flush()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    def _end_watches(self) -> None:
        for stream in list(self._watching):
            self._sender.more(stream, framed(NOT_SERVING))
            self._sender.answer(stream, b"", None, OK)
            self._watching.discard(stream)

    def _go(self) -> None:
        if self._cancel("going"):
            self._http.go_away()
            self._flush()

    def _ask_whether_there(self) -> None:
        if "there" not in self._timers and not self._full:
            self._sender.ping(_THERE)
            self._later("there", self._front.limits.keepalive_timeout_seconds, self.abort)
            self._flush()
        self._later("keepalive", self._front.limits.keepalive_seconds, self._ask_whether_there)

    def _answered(self, stream: Stream, answer: bytes | Failed) -> None:
        if stream in self._waiting:
            _, timer = self._waiting.pop(stream)
            if timer is not None:
                timer.cancel()
        if isinstance(answer, Failed):
            self._fail(stream, answer)
        elif len(answer) > self._front.limits.sent_bytes:
            self._fail(stream, too_large("Sent", len(answer), self._front.limits.sent_bytes))
        else:
            self._sender.answer(stream, HEAD, framed(answer), OK)
            self._flush()

    def _late(self, stream: Stream) -> None:
        self.reset(stream)
        self._fail(stream, _late())

    def _fail(self, stream: Stream, failed: Failed) -> None:
        tail = _STATUS + _CONTENT_TYPE + header_field(b"grpc-status", str(grpc_number(failed.code)).encode())
        if failed.message:
            text = grpc_message(failed.message).encode("utf-8", errors="surrogateescape")
            tail += header_field(b"grpc-message", quote(text, safe=_PRINTABLE).encode())
        self._sender.answer(stream, b"", None, tail)
        self._flush()

    def _flush(self) -> None:
        if self._busy:  # at the end of what is being read, all at once
            return
        out = self._sender.take()
        if out and not self._transport.is_closing():
            self._transport.write(out)
        if not self._sender.streams:
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
    method: Method, message: bytes, packed: Packed | None, deadline: float | None, wait: bool
) -> bytes | Failed:
    """The method's answer, in any case."""
    if deadline is not None and time.monotonic() >= deadline:
        return _late()  # nobody waits for it any more; the model has better things to do
    try:
        return method(message if packed is None else inflate(message, packed), wait)
    except WouldWait:
        raise
    except Failed as failed:
        return failed
    except DecodeError:
        return Failed("INTERNAL", "")
    except Exception as error:  # what it was is for this server's own log
        say(f"{type(error).__name__} while answering: {error}", "ERROR")
        return Failed("INTERNAL", f"{type(error).__name__}: {error}")


def _late() -> Failed:
    return Failed("DEADLINE_EXCEEDED", "Deadline Exceeded")

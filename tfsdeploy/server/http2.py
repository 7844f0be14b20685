"""HTTP/2 as a gRPC server needs it (RFC 9113): frames, streams, flow control, header blocks. Opens no socket.

What happens in a connection is told to a `Handler`. What is to be sent is collected until `take` is called, so that the
answers to all requests of one read leave in one write.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, Protocol

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED = 0, 1, 2, 3, 5
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 6, 7, 8, 9, 11

_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME, _MAX_HEADERS = range(1, 7)

DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_FRAME: Final = 16_384

STREAM_WINDOW: Final = 4 * 2**20
CONNECTION_WINDOW: Final = 16 * 2**20
"""What clients may send before they hear that it was read. Whole messages are collected anyway."""

FRAME_BYTES: Final = 128 * 2**10
HEADER_BYTES: Final = 64 * 2**10
KNOWN_BLOCKS: Final = 64

_HEAD = struct.Struct(">BHBBI")
_SETTING = struct.Struct(">HI")

Fields = tuple[tuple[bytes, bytes], ...]


class ProtocolError(Exception):
    """The client broke the protocol; the connection ends with this error code (RFC 9113, 7)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Handler(Protocol):
    """Who is told what clients do. Nothing of it may raise."""

    def opened(self, stream: Stream) -> None:
        """A request has begun: its head is there."""

    def received(self, stream: Stream) -> None:
        """More of its body is there."""

    def ended(self, stream: Stream) -> None:
        """Its body is complete."""

    def reset(self, stream: Stream) -> None:
        """The client has given it up."""

    def pong(self, data: bytes) -> None:
        """The client has answered a ping."""


class Stream:
    """One request and its answer.

    Attributes:
        number: odd, and growing.
        head: the request's header fields.
        body: what has come of it.
        complete: nothing more comes.
        closed: the answer is given, or nobody wants it any more.
        window: how much of the answer the client has room for, beyond what it has for each at first.
        context: whatever the handler keeps beside it.
    """

    __slots__ = ("body", "closed", "complete", "context", "credit", "head", "number", "tail", "unsent", "window")

    def __init__(self, number: int, head: Fields) -> None:
        self.number = number
        self.head = head
        self.body = bytearray()
        self.complete = False
        self.closed = False
        self.context: object = None
        self.window = 0
        self.credit = STREAM_WINDOW
        self.unsent = memoryview(b"")
        self.tail: bytes | None = None


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """One frame of at most 16 KiB."""
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, number) + payload


def field(name: bytes, value: bytes) -> bytes:
    """A header field for a block, without indexing: such a block is the same at any time (RFC 7541, 6.2.2)."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def _length(size: int) -> bytes:
    if size < 127:
        return bytes((size,))
    size -= 127
    more = bytearray((127,))
    while size >= 128:
        more.append(size & 127 | 128)
        size >>= 7
    more.append(size)
    return bytes(more)


class _Table(HeaderTable):
    """Counts its changes: while there is none, the same block means the same fields."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class _Heads:
    """Reads header blocks; clients repeat theirs for every request."""

    def __init__(self) -> None:
        self._table = _Table()
        self._decoder = Decoder(HEADER_BYTES)
        self._decoder.header_table = self._table
        self._known: dict[bytes, Fields] = {}

    def read(self, block: bytes) -> Fields:
        known = self._known.get(block)
        if known is not None:
            return known
        before = (self._table.changes, self._table.maxsize)
        try:
            fields = tuple((bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True))
        except (HPACKError, IndexError) as error:
            raise ProtocolError(COMPRESSION_ERROR, f"header block: {error}") from error
        if before != (self._table.changes, self._table.maxsize) or len(self._known) >= KNOWN_BLOCKS:
            self._known.clear()
        if before == (self._table.changes, self._table.maxsize):
            self._known[block] = fields
        return fields


class Connection:
    """One connection's state.

    Args:
        handler: is told of requests.
        most_streams: requests at the same time; what comes beyond them is refused, and clients ask again.
    """

    def __init__(self, handler: Handler, most_streams: int) -> None:
        self._handler = handler
        self._most_streams = most_streams
        self._streams: dict[int, Stream] = {}
        self._heads = _Heads()
        self._rest = b""
        self._greeted = False
        self._last = 0
        self._closing = False
        self._block: tuple[int, int, bytearray] | None = None
        self._window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW
        self._frame_size = DEFAULT_FRAME
        self._credit = CONNECTION_WINDOW
        self._blocked: dict[int, Stream] = {}
        self._roomier = False
        settings = {
            _INITIAL_WINDOW: STREAM_WINDOW, _MAX_FRAME: FRAME_BYTES, _MAX_HEADERS: HEADER_BYTES,
            _MAX_STREAMS: most_streams,
        }  # fmt: skip
        self._out: list[bytes | memoryview] = [
            frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*setting) for setting in settings.items())),
            frame(WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big")),
        ]
        self._kinds: tuple[Callable[[int, int, bytes], None], ...] = (
            self._data, self._headers, self._priority, self._rst_stream, self._settings, self._push_promise,
            self._ping, self._goaway, self._window_update, self._continuation,
        )  # fmt: skip

    @property
    def idle(self) -> bool:
        """Nothing is asked, and nothing is left to send."""
        return not self._streams

    def take(self) -> bytes:
        """What is to be sent now."""
        out, self._out = self._out, []
        return b"".join(out)

    def receive(self, data: bytes) -> None:
        """Take what a client sent.

        Raises:
            ProtocolError: it is not HTTP/2. `take` then says so to the client, and the connection is to be closed.
        """
        try:
            self._receive(self._rest + data if self._rest else data)
        except ProtocolError as error:
            self._out.append(
                frame(GOAWAY, 0, 0, struct.pack(">II", self._last, error.code) + str(error)[:200].encode())
            )
            raise
        if self._roomier:
            # Once for all frames of a read: there may be thousands of them, and of streams.
            self._roomier = False
            self._push_blocked()

    def _receive(self, data: bytes) -> None:
        at, end = 0, len(data)
        if not self._greeted:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise ProtocolError(PROTOCOL_ERROR, "no HTTP/2 preface")
            if end < len(PREFACE):
                self._rest = data
                return
            self._greeted = True
            at = len(PREFACE)
        while end - at >= 9:
            high, low, kind, flags, number = _HEAD.unpack_from(data, at)
            stop = at + 9 + (high << 16 | low)
            if stop - at - 9 > FRAME_BYTES:
                raise ProtocolError(FRAME_SIZE_ERROR, "a frame larger than was agreed")
            if stop > end:
                break
            if self._block is not None and kind != CONTINUATION:
                raise ProtocolError(PROTOCOL_ERROR, "a header block was not continued")
            if kind < len(self._kinds):
                self._kinds[kind](flags, number & 0x7FFFFFFF, data[at + 9 : stop])
            at = stop
        self._rest = data[at:]

    # What is sent.

    def answer(self, stream: Stream, head: bytes, body: bytes | None, tail: bytes) -> None:
        """Send a whole answer.

        Args:
            stream: whose.
            head: header block.
            body: as much as there is; None: none, and ``tail`` is all.
            tail: header block that ends the answer.
        """
        if stream.closed:
            return
        number = stream.number
        if body is None:
            self._out.append(frame(HEADERS, END_HEADERS | END_STREAM, number, tail))
            self._close(stream)
            return
        size = len(body)
        if size <= self._window and size <= stream.window + self._initial_window and size <= DEFAULT_FRAME:
            self._window -= size
            self._out.append(
                frame(HEADERS, END_HEADERS, number, head)
                + _HEAD.pack(0, size, DATA, 0, number)
                + body
                + frame(HEADERS, END_HEADERS | END_STREAM, number, tail)
            )
            self._close(stream)
            return
        self._out.append(frame(HEADERS, END_HEADERS, number, head))
        stream.unsent, stream.tail = memoryview(body), tail
        self._push(stream)

    def begin(self, stream: Stream, head: bytes, body: bytes) -> None:
        """Send the beginning of an answer that goes on."""
        if not stream.closed:
            self._out.append(frame(HEADERS, END_HEADERS, stream.number, head))
            self.more(stream, body)

    def more(self, stream: Stream, body: bytes) -> None:
        """Send more of an answer that goes on."""
        if not stream.closed:
            stream.unsent = memoryview(bytes(stream.unsent) + body)
            self._push(stream)

    def refuse(self, stream: Stream, code: int) -> None:
        """Give a request up."""
        if not stream.closed:
            self._out.append(frame(RST_STREAM, 0, stream.number, code.to_bytes(4, "big")))
            stream.complete = True
            self._close(stream)

    def ping(self, data: bytes) -> None:
        """Ask whether the client is there; eight bytes come back."""
        self._out.append(frame(PING, 0, 0, data))

    def go_away(self, *, soon: bool = False) -> None:
        """Ask the client to open no more streams.

        Args:
            soon: those that it has opened meanwhile are answered, too; a second call names the last one.
        """
        last = LARGEST_WINDOW if soon else self._last
        self._closing = self._closing or not soon
        self._out.append(frame(GOAWAY, 0, 0, struct.pack(">II", last, NO_ERROR)))

    def streams(self) -> list[Stream]:
        """Those that are not answered yet."""
        return list(self._streams.values())

    def _push(self, stream: Stream) -> None:
        """Send as much as the client has room for."""
        while stream.unsent:
            size = min(len(stream.unsent), stream.window + self._initial_window, self._window, self._frame_size)
            if size <= 0:
                self._blocked[stream.number] = stream
                return
            self._out += (_HEAD.pack(size >> 16, size & 0xFFFF, DATA, 0, stream.number), stream.unsent[:size])
            stream.unsent = stream.unsent[size:]
            stream.window -= size
            self._window -= size
        self._blocked.pop(stream.number, None)
        if stream.tail is not None:
            self._out.append(frame(HEADERS, END_HEADERS | END_STREAM, stream.number, stream.tail))
            self._close(stream)

    def _push_blocked(self) -> None:
        for stream in list(self._blocked.values()):
            if self._window <= 0:
                return
            # To the end of the line, so that none starves.
            del self._blocked[stream.number]
            self._push(stream)

    def _close(self, stream: Stream) -> None:
        stream.closed = True
        self._blocked.pop(stream.number, None)
        if self._streams.pop(stream.number, None) is not None and not stream.complete:
            self._out.append(frame(RST_STREAM, 0, stream.number, NO_ERROR.to_bytes(4, "big")))

    # What is received.

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        block = _unpadded(flags, payload)
        if flags & PRIORITIZED:
            if len(block) < 5:
                raise ProtocolError(FRAME_SIZE_ERROR, "HEADERS is too short")
            block = block[5:]
        if flags & END_HEADERS:
            self._head(flags, number, block)
        else:
            self._block = (flags, number, bytearray(block))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[1] != number:
            raise ProtocolError(PROTOCOL_ERROR, "nothing to continue")
        first, _, block = self._block
        block += payload
        if len(block) > HEADER_BYTES:
            raise ProtocolError(ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & END_HEADERS:
            self._block = None
            self._head(first, number, bytes(block))

    def _head(self, flags: int, number: int, block: bytes) -> None:
        fields = self._heads.read(block)
        stream = self._streams.get(number)
        if stream is not None:  # trailers
            if stream.complete or not flags & END_STREAM:
                raise ProtocolError(PROTOCOL_ERROR, "trailers that do not end a stream")
            self._end(stream)
            return
        if not number & 1:
            raise ProtocolError(PROTOCOL_ERROR, "a stream with an even number")
        if number <= self._last:
            return  # trailers of a stream that was answered, or given up, meanwhile
        if self._closing:
            return  # it knows by now that it is to ask elsewhere
        self._last = number
        if len(self._streams) >= self._most_streams:
            self._out.append(frame(RST_STREAM, 0, number, REFUSED_STREAM.to_bytes(4, "big")))
            return
        stream = self._streams[number] = Stream(number, fields)
        self._handler.opened(stream)
        if flags & END_STREAM:
            self._end(stream)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < 0:
            raise ProtocolError(FLOW_CONTROL_ERROR, "more was sent than there is room for")
        if self._credit <= CONNECTION_WINDOW // 2:
            self._out.append(frame(WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - self._credit).to_bytes(4, "big")))
            self._credit = CONNECTION_WINDOW
        stream = self._streams.get(number)
        if stream is None or stream.complete:
            if not 0 < number <= self._last and not self._closing:
                raise ProtocolError(PROTOCOL_ERROR, "data of a stream that was not opened")
            return
        stream.credit -= size
        if stream.credit < 0:
            raise ProtocolError(FLOW_CONTROL_ERROR, "more was sent than there is room for")
        stream.body += _unpadded(flags, payload)
        if flags & END_STREAM:
            self._end(stream)
            return
        if stream.credit <= STREAM_WINDOW // 2:
            self._out.append(frame(WINDOW_UPDATE, 0, number, (STREAM_WINDOW - stream.credit).to_bytes(4, "big")))
            stream.credit = STREAM_WINDOW
        self._handler.received(stream)

    def _end(self, stream: Stream) -> None:
        stream.complete = True
        self._handler.ended(stream)

    def _rst_stream(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        if not 0 < number <= self._last and not self._closing:
            raise ProtocolError(PROTOCOL_ERROR, "RST_STREAM of a stream that was not opened")
        stream = self._streams.get(number)
        if stream is not None:
            stream.complete = True
            self._close(stream)
            self._handler.reset(stream)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ProtocolError(PROTOCOL_ERROR, "SETTINGS of a stream")
        if len(payload) % 6 or (flags & ACK and payload):
            raise ProtocolError(FRAME_SIZE_ERROR, "SETTINGS has six bytes for each")
        if flags & ACK:
            return
        for name, value in _SETTING.iter_unpack(payload):
            if name == _INITIAL_WINDOW:
                if value > LARGEST_WINDOW:
                    raise ProtocolError(FLOW_CONTROL_ERROR, "a window that is too large")
                self._initial_window = value
                self._roomier = True
            elif name == _MAX_FRAME:
                if not DEFAULT_FRAME <= value < 2**24:
                    raise ProtocolError(PROTOCOL_ERROR, "a frame size that is none")
                self._frame_size = value
        self._out.append(frame(SETTINGS, ACK, 0))

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "WINDOW_UPDATE has four bytes")
        more = int.from_bytes(payload, "big") & LARGEST_WINDOW
        stream = self._streams.get(number)
        if number == 0:
            self._window += more
            if not more or self._window > LARGEST_WINDOW:
                raise ProtocolError(FLOW_CONTROL_ERROR if more else PROTOCOL_ERROR, "a window that cannot be")
            self._roomier = True
        elif stream is not None:
            stream.window += more
            if not more or stream.window + self._initial_window > LARGEST_WINDOW:
                self.refuse(stream, FLOW_CONTROL_ERROR if more else PROTOCOL_ERROR)
                self._handler.reset(stream)
            elif stream.unsent:
                self._push(stream)
        elif number > self._last and not self._closing:
            raise ProtocolError(PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was not opened")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ProtocolError(PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ProtocolError(FRAME_SIZE_ERROR, "PING has eight bytes")
        if flags & ACK:
            self._handler.pong(payload)
        else:
            self._out.append(frame(PING, ACK, 0, payload))

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        if not number or len(payload) != 5:
            raise ProtocolError(FRAME_SIZE_ERROR if number else PROTOCOL_ERROR, "PRIORITY has five bytes")

    def _push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise ProtocolError(PROTOCOL_ERROR, "clients promise nothing")

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ProtocolError(PROTOCOL_ERROR, "GOAWAY of a stream")


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]

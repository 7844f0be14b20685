"""HTTP/2 as a gRPC server needs it (RFC 9113): reads what clients send, and tells a `Handler`. Opens no socket."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, Protocol

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

from tfsdeploy.server import http2_frames as h2
from tfsdeploy.server.http2_frames import Fields, ProtocolError, frame, unpadded
from tfsdeploy.server.http2_sender import Sender, Stream

STREAM_WINDOW: Final = 4 * 2**20
CONNECTION_WINDOW: Final = 16 * 2**20
"""What clients may send before they hear that it was read. Whole messages are collected anyway."""

FRAME_BYTES: Final = 128 * 2**10
HEADER_BYTES: Final = 64 * 2**10
KNOWN_BLOCKS: Final = 64


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
            raise ProtocolError(h2.COMPRESSION_ERROR, f"header block: {error}") from error
        if before != (self._table.changes, self._table.maxsize) or len(self._known) >= KNOWN_BLOCKS:
            self._known.clear()
        if before == (self._table.changes, self._table.maxsize):
            self._known[block] = fields
        return fields


class Connection:
    """One connection.

    Args:
        handler: is told of requests.
        most_streams: requests at the same time; what comes beyond them is refused, and clients ask again.

    Attributes:
        sender: what the handler answers by.
    """

    def __init__(self, handler: Handler, most_streams: int) -> None:
        self._handler = handler
        self._most_streams = most_streams
        self.sender = Sender()
        self._heads = _Heads()
        self._rest = b""
        self._greeted = False
        self._last = 0
        self._closing = False
        self._block: tuple[int, int, bytearray] | None = None
        self._credit = CONNECTION_WINDOW
        settings = {
            h2.INITIAL_WINDOW: STREAM_WINDOW, h2.MAX_FRAME: FRAME_BYTES,
            h2.MAX_HEADERS: HEADER_BYTES, h2.MAX_STREAMS: most_streams,
        }  # fmt: skip
        self.sender.put(frame(h2.SETTINGS, 0, 0, b"".join(h2.SETTING.pack(*setting) for setting in settings.items())))
        self.sender.put(frame(h2.WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - h2.DEFAULT_WINDOW).to_bytes(4, "big")))
        self._kinds: tuple[Callable[[int, int, bytes], None], ...] = (
            self._data, self._headers, self._priority, self._rst_stream, self._settings, self._push_promise,
            self._ping, self._goaway, self._window_update, self._continuation,
        )  # fmt: skip

    def receive(self, data: bytes) -> None:
        """Take what a client sent.

        Raises:
            ProtocolError: it is not HTTP/2. `sender.take` then tells the client so; the connection is to be closed.
        """
        try:
            self._receive(self._rest + data if self._rest else data)
        except ProtocolError as error:
            self.sender.put(
                frame(h2.GOAWAY, 0, 0, struct.pack(">II", self._last, error.code) + str(error)[:200].encode())
            )
            raise
        self.sender.push_blocked()

    def _receive(self, data: bytes) -> None:
        at, end = 0, len(data)
        if not self._greeted:
            if not h2.PREFACE.startswith(data[: len(h2.PREFACE)]):
                raise ProtocolError(h2.PROTOCOL_ERROR, "no HTTP/2 preface")
            if end < len(h2.PREFACE):
                self._rest = data
                return
            self._greeted = True
            at = len(h2.PREFACE)
        while end - at >= 9:
            high, low, kind, flags, number = h2.HEAD.unpack_from(data, at)
            stop = at + 9 + (high << 16 | low)
            if stop - at - 9 > FRAME_BYTES:
                raise ProtocolError(h2.FRAME_SIZE_ERROR, "a frame larger than was agreed")
            if stop > end:
                break
            if self._block is not None and kind != h2.CONTINUATION:
                raise ProtocolError(h2.PROTOCOL_ERROR, "a header block was not continued")
            if kind < len(self._kinds):
                self._kinds[kind](flags, number & 0x7FFFFFFF, data[at + 9 : stop])
            at = stop
        self._rest = data[at:]

    def go_away(self, *, soon: bool = False) -> None:
        """Ask the client to open no more streams.

        Args:
            soon: those that it has opened meanwhile are answered, too; a second call names the last one.
        """
        last = h2.LARGEST_WINDOW if soon else self._last
        self._closing = self._closing or not soon
        self.sender.put(frame(h2.GOAWAY, 0, 0, struct.pack(">II", last, h2.NO_ERROR)))

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        block = unpadded(flags, payload)
        if flags & h2.PRIORITIZED:
            if len(block) < 5:
                raise ProtocolError(h2.FRAME_SIZE_ERROR, "HEADERS is too short")
            block = block[5:]
        if flags & h2.END_HEADERS:
            self._head(flags, number, block)
        else:
            self._block = (flags, number, bytearray(block))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[1] != number:
            raise ProtocolError(h2.PROTOCOL_ERROR, "nothing to continue")
        first, _, block = self._block
        block += payload
        if len(block) > HEADER_BYTES:
            raise ProtocolError(h2.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & h2.END_HEADERS:
            self._block = None
            self._head(first, number, bytes(block))

    def _head(self, flags: int, number: int, block: bytes) -> None:
        fields = self._heads.read(block)
        stream = self.sender.streams.get(number)
        if stream is not None:  # trailers
            if stream.complete or not flags & h2.END_STREAM:
                raise ProtocolError(h2.PROTOCOL_ERROR, "trailers that do not end a stream")
            self._end(stream)
            return
        if not number & 1:
            raise ProtocolError(h2.PROTOCOL_ERROR, "a stream with an even number")
        if number <= self._last:
            return  # trailers of a stream that was answered, or given up, meanwhile
        if self._closing:
            return  # it knows by now that it is to ask elsewhere
        self._last = number
        if len(self.sender.streams) >= self._most_streams:
            self.sender.put(frame(h2.RST_STREAM, 0, number, h2.REFUSED_STREAM.to_bytes(4, "big")))
            return
        stream = self.sender.streams[number] = Stream(number, fields, STREAM_WINDOW)
        self._handler.opened(stream)
        if flags & h2.END_STREAM:
            self._end(stream)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < 0:
            raise ProtocolError(h2.FLOW_CONTROL_ERROR, "more was sent than there is room for")
        if self._credit <= CONNECTION_WINDOW // 2:
            self.sender.put(frame(h2.WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - self._credit).to_bytes(4, "big")))
            self._credit = CONNECTION_WINDOW
        stream = self.sender.streams.get(number)
        if stream is None or stream.complete:
            if not 0 < number <= self._last and not self._closing:
                raise ProtocolError(h2.PROTOCOL_ERROR, "data of a stream that was not opened")
            return
        stream.credit -= size
        if stream.credit < 0:
            raise ProtocolError(h2.FLOW_CONTROL_ERROR, "more was sent than there is room for")
        stream.body += unpadded(flags, payload)
        if flags & h2.END_STREAM:
            self._end(stream)
            return
        if stream.credit <= STREAM_WINDOW // 2:
            self.sender.put(frame(h2.WINDOW_UPDATE, 0, number, (STREAM_WINDOW - stream.credit).to_bytes(4, "big")))
            stream.credit = STREAM_WINDOW
        self._handler.received(stream)

    def _end(self, stream: Stream) -> None:
        stream.complete = True
        self._handler.ended(stream)

    def _rst_stream(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(h2.FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        if not 0 < number <= self._last and not self._closing:
            raise ProtocolError(h2.PROTOCOL_ERROR, "RST_STREAM of a stream that was not opened")
        stream = self.sender.streams.get(number)
        if stream is not None:
            stream.complete = True
            self.sender.close(stream)
            self._handler.reset(stream)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ProtocolError(h2.PROTOCOL_ERROR, "SETTINGS of a stream")
        if len(payload) % 6 or (flags & h2.ACK and payload):
            raise ProtocolError(h2.FRAME_SIZE_ERROR, "SETTINGS has six bytes for each")
        if flags & h2.ACK:
            return
        for name, value in h2.SETTING.iter_unpack(payload):
            if name == h2.INITIAL_WINDOW:
                if value > h2.LARGEST_WINDOW:
                    raise ProtocolError(h2.FLOW_CONTROL_ERROR, "a window that is too large")
                self.sender.agree(initial_window=value)
            elif name == h2.MAX_FRAME:
                if not h2.DEFAULT_FRAME <= value < 2**24:
                    raise ProtocolError(h2.PROTOCOL_ERROR, "a frame size that is none")
                self.sender.agree(frame_size=value)
        self.sender.put(frame(h2.SETTINGS, h2.ACK, 0))

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(h2.FRAME_SIZE_ERROR, "WINDOW_UPDATE has four bytes")
        more = int.from_bytes(payload, "big") & h2.LARGEST_WINDOW
        stream = self.sender.streams.get(number)
        if number == 0:
            self.sender.widen(more)
        elif stream is not None:
            if not self.sender.widen_stream(stream, more):
                self._handler.reset(stream)
        elif number > self._last and not self._closing:
            raise ProtocolError(h2.PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was not opened")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ProtocolError(h2.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ProtocolError(h2.FRAME_SIZE_ERROR, "PING has eight bytes")
        if flags & h2.ACK:
            self._handler.pong(payload)
        else:
            self.sender.put(frame(h2.PING, h2.ACK, 0, payload))

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        if not number or len(payload) != 5:
            raise ProtocolError(h2.FRAME_SIZE_ERROR if number else h2.PROTOCOL_ERROR, "PRIORITY has five bytes")

    def _push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise ProtocolError(h2.PROTOCOL_ERROR, "clients promise nothing")

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ProtocolError(h2.PROTOCOL_ERROR, "GOAWAY of a stream")

"""What leaves on an HTTP/2 connection: answers, as far as the client has room for them (RFC 9113, 5.2).

What is to be sent is collected until `take` is called, so that the answers to all requests of one read leave in one
write. Opens no socket.
"""

from __future__ import annotations

from tfsdeploy.server import http2_frames as h2
from tfsdeploy.server.http2_frames import Fields, ProtocolError, frame


class Stream:
    """One request and its answer.

    Attributes:
        number: odd, and growing.
        head: the request's header fields.
        body: what has come of it.
        complete: nothing more comes.
        closed: the answer is given, or nobody wants it any more.
        window: bytes of the answer that the client has room for, beyond what it has for each at first.
        credit: bytes of the body that the client may still send before it is given more.
        unsent: what of the answer waits for room.
        tail: header block that ends the answer; None while it goes on.
        context: whatever the handler keeps beside it.
    """

    __slots__ = ("body", "closed", "complete", "context", "credit", "head", "number", "tail", "unsent", "window")

    def __init__(self, number: int, head: Fields, credit: int) -> None:
        self.number = number
        self.head = head
        self.body = bytearray()
        self.complete = False
        self.closed = False
        self.context: object = None
        self.window = 0
        self.credit = credit
        self.unsent = memoryview(b"")
        self.tail: bytes | None = None


class Sender:
    """One connection's way out.

    Attributes:
        streams: those that are not answered yet, by number.
    """

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self._out: list[bytes | memoryview] = []
        self._window = h2.DEFAULT_WINDOW
        self._initial_window = h2.DEFAULT_WINDOW
        self._frame_size = h2.DEFAULT_FRAME
        self._blocked: dict[int, Stream] = {}
        self._roomier = False

    def take(self) -> bytes:
        """What is to be sent now."""
        out, self._out = self._out, []
        return b"".join(out)

    def put(self, sent: bytes) -> None:
        """Send a frame that needs no room."""
        self._out.append(sent)

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
            self._out.append(frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, number, tail))
            self.close(stream)
            return
        size = len(body)
        if size <= self._window and size <= stream.window + self._initial_window and size <= h2.DEFAULT_FRAME:
            self._window -= size
            self._out.append(
                frame(h2.HEADERS, h2.END_HEADERS, number, head)
                + h2.HEAD.pack(0, size, h2.DATA, 0, number)
                + body
                + frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, number, tail)
            )
            self.close(stream)
            return
        self._out.append(frame(h2.HEADERS, h2.END_HEADERS, number, head))
        stream.unsent, stream.tail = memoryview(body), tail
        self._push(stream)

    def begin(self, stream: Stream, head: bytes, body: bytes) -> None:
        """Send the beginning of an answer that goes on."""
        if not stream.closed:
            self._out.append(frame(h2.HEADERS, h2.END_HEADERS, stream.number, head))
            self.more(stream, body)

    def more(self, stream: Stream, body: bytes) -> None:
        """Send more of an answer that goes on."""
        if not stream.closed:
            stream.unsent = memoryview(bytes(stream.unsent) + body)
            self._push(stream)

    def close(self, stream: Stream) -> None:
        """Count a stream as answered; what the client still sends of it is not wanted."""
        stream.closed = True
        self._blocked.pop(stream.number, None)
        if self.streams.pop(stream.number, None) is not None and not stream.complete:
            self._out.append(frame(h2.RST_STREAM, 0, stream.number, h2.NO_ERROR.to_bytes(4, "big")))

    def ping(self, data: bytes) -> None:
        """Ask whether the client is there; eight bytes come back."""
        self._out.append(frame(h2.PING, 0, 0, data))

    # Room that the client gives.

    def widen(self, more: int) -> None:
        """Take room for the answers of all streams together.

        Args:
            more: bytes, 0 to 2**31 - 1.

        Raises:
            ProtocolError: it is none, or more than there may be.
        """
        self._window += more
        if not more or self._window > h2.LARGEST_WINDOW:
            raise ProtocolError(h2.FLOW_CONTROL_ERROR if more else h2.PROTOCOL_ERROR, "a window that cannot be")
        self._roomier = True

    def widen_stream(self, stream: Stream, more: int) -> bool:
        """Take room for one answer; whether the stream is still there. One with more than may be is refused."""
        stream.window += more
        if not more or stream.window + self._initial_window > h2.LARGEST_WINDOW:
            if not stream.closed:
                code = h2.FLOW_CONTROL_ERROR if more else h2.PROTOCOL_ERROR
                self._out.append(frame(h2.RST_STREAM, 0, stream.number, code.to_bytes(4, "big")))
                stream.complete = True
                self.close(stream)
            return False
        if stream.unsent:
            self._push(stream)
        return True

    def agree(self, *, initial_window: int | None = None, frame_size: int | None = None) -> None:
        """Take what the client has set.

        Args:
            initial_window: room in bytes for each answer at first; counts for those that are under way, too.
            frame_size: bytes that a frame may have.
        """
        if initial_window is not None:
            self._initial_window = initial_window
            self._roomier = True
        if frame_size is not None:
            self._frame_size = frame_size

    def push_blocked(self) -> None:
        """Send what there is room for by now: once for all frames of a read, of which there may be thousands."""
        if not self._roomier:
            return
        self._roomier = False
        for stream in list(self._blocked.values()):
            if self._window <= 0:
                return
            # To the end of the line, so that none starves.
            del self._blocked[stream.number]
            self._push(stream)

    def _push(self, stream: Stream) -> None:
        """Send as much as the client has room for."""
        while stream.unsent:
            size = min(len(stream.unsent), stream.window + self._initial_window, self._window, self._frame_size)
            if size <= 0:
                self._blocked[stream.number] = stream
                return
            self._out += (h2.HEAD.pack(size >> 16, size & 0xFFFF, h2.DATA, 0, stream.number), stream.unsent[:size])
            stream.unsent = stream.unsent[size:]
            stream.window -= size
            self._window -= size
        self._blocked.pop(stream.number, None)
        if stream.tail is not None:
            self._out.append(frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream.number, stream.tail))
            self.close(stream)

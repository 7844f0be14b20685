"""Closed-loop clients that cost little: requests are bytes made once, and answers are counted, not understood."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _DATA, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 1, 0, 3, 4, 6, 7, 8
_INITIAL_WINDOW, _LARGEST_WINDOW = 4, 2**31 - 1
_FRAME = 16384


def rest_request(path: str, body: bytes) -> bytes:
    """A POST of ``body``."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def grpc_headers(path: str) -> bytes:
    """The HPACK block of a gRPC request, without indexing."""
    pairs = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in pairs.items()
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@dataclass
class Timings:
    """Seconds from sending a request to the end of its answer."""

    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class Rest:
    """One HTTP/1.1 connection with one request in flight."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = _connect(port)
        self._request = request
        self._received = b""

    def send(self) -> None:
        """Sends the request."""
        self.socket.sendall(self._request)

    def receive(self) -> int:
        """Takes what has come; how many answers are complete."""
        self._received += _some(self.socket)
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return 0
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"REST: {self._received[:300]!r}")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return 0
        self._received = b""
        return 1


class Grpc:
    """One HTTP/2 connection with any number of requests in flight.

    Small requests are sent whatever room the server has; those of more than a frame as it lets them.
    """

    def __init__(self, port: int, path: str, message: bytes) -> None:
        self.socket = _connect(port)
        self._headers = grpc_headers(path)
        self._body = b"\x00" + len(message).to_bytes(4, "big") + message
        self._stream = 1
        self._received = b""
        self._taken = 0
        self._room = self._first_room = 65535
        self._unsent: dict[int, tuple[int, int]] = {}  # stream -> bytes sent, and room beyond what each has at first
        settings = _INITIAL_WINDOW.to_bytes(2, "big") + _LARGEST_WINDOW.to_bytes(4, "big")
        window = _frame(_WINDOW, 0, 0, (_LARGEST_WINDOW - 65535).to_bytes(4, "big"))
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + window)

    def send(self) -> None:
        """Sends the request on a stream of its own."""
        stream, self._stream = self._stream, self._stream + 2
        headers = _frame(_HEADERS, 4, stream, self._headers)
        if len(self._body) <= _FRAME:
            self.socket.sendall(headers + _frame(_DATA, 1, stream, self._body))
        else:
            self.socket.sendall(headers)
            self._unsent[stream] = (0, 0)
            self._send_more()

    def _send_more(self) -> None:
        for stream, (sent, more) in list(self._unsent.items()):
            while size := min(_FRAME, len(self._body) - sent, self._room, self._first_room + more - sent):
                last = sent + size == len(self._body)
                self.socket.sendall(_frame(_DATA, last, stream, self._body[sent : sent + size]))
                sent, self._room = sent + size, self._room - size
            if sent < len(self._body):
                self._unsent[stream] = (sent, more)
            else:
                del self._unsent[stream]

    def _take_room(self, kind: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == _INITIAL_WINDOW:
                    self._first_room = int.from_bytes(payload[at + 2 : at + 6], "big")
        elif stream in self._unsent:
            sent, more = self._unsent[stream]
            self._unsent[stream] = (sent, more + int.from_bytes(payload, "big"))
        elif not stream:
            self._room += int.from_bytes(payload, "big")

    def receive(self) -> int:
        """Takes what has come; how many answers are complete."""
        data = self._received + _some(self.socket)
        at, complete = 0, 0
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at - 9 < size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind in (_RST, _GOAWAY):
                raise RuntimeError(f"gRPC: frame {kind}: {data[at + 9 : at + 9 + size]!r}")
            if kind in (_SETTINGS, _PING) and not flags & 1:
                self.socket.sendall(_frame(kind, 1, 0, data[at + 9 : at + 9 + size] if kind == _PING else b""))
            elif kind in (_HEADERS, _DATA) and flags & 1:
                complete += 1
            if kind in (_SETTINGS, _WINDOW) and not (kind == _SETTINGS and flags & 1):
                stream = int.from_bytes(data[at + 5 : at + 9], "big")
                self._take_room(kind, stream, data[at + 9 : at + 9 + size])
            elif kind == _DATA:
                self._taken += size
            at += 9 + size
        self._received = data[at:]
        if self._taken > _LARGEST_WINDOW // 2:
            self.socket.sendall(_frame(_WINDOW, 0, 0, self._taken.to_bytes(4, "big")))
            self._taken = 0
        if self._unsent:
            self._send_more()
        return complete


Connection = Rest | Grpc


def one_by_one(connection: Connection, count: int) -> Timings:
    """``count`` requests, each sent when the one before is answered."""
    timings = Timings()
    for _ in range(count):
        begin = time.perf_counter()
        connection.send()
        while not connection.receive():
            pass
        timings.seconds.append(time.perf_counter() - begin)
    return timings


def at_once(make: Callable[[], Connection], connections: int, in_flight: int, seconds: float) -> float:
    """Requests a second with ``in_flight`` of them under way on each of ``connections``."""
    with selectors.DefaultSelector() as selector:
        opened = [make() for _ in range(connections)]
        for connection in opened:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            for _ in range(in_flight):
                connection.send()
        done, begin = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < seconds:
            for key, _ in selector.select(1):
                answered = key.data.receive()
                done += answered
                for _ in range(answered):
                    key.data.send()
        for connection in opened:
            connection.socket.close()
    return done / elapsed


def paced(make: Callable[[], Connection], connections: int, rate: float, seconds: float) -> Timings:
    """Requests sent when they are due, ``rate`` a second, however the ones before fare; from when they were due."""
    timings = Timings()
    with selectors.DefaultSelector() as selector:
        free = [make() for _ in range(connections)]
        for connection in free:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        late: deque[float] = deque()
        asked: dict[Connection, float] = {}
        begin, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < begin + seconds:
            while (due := begin + sent / rate) <= now:
                late.append(due)
                sent += 1
            while late and free:
                connection = free.pop()
                asked[connection] = late.popleft()
                connection.send()
            for key, _ in selector.select(max(0.0, begin + sent / rate - time.perf_counter())):
                if key.data.receive():
                    timings.seconds.append(time.perf_counter() - asked.pop(key.data))
                    free.append(key.data)
        for connection in [*free, *asked]:
            connection.socket.close()
    return timings


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise RuntimeError("the server closed the connection")
    return data

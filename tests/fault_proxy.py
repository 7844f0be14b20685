"""A proxy between a client and an S3 server that breaks what passes through it, the same way for the same seed."""

from __future__ import annotations

import http.client
import random
import select
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

FAULTS = (
    "cut before",
    "cut in request",
    "cut after",
    "cut in answer",
    "refuse",
    "refuse after",
    "delay",
    "corrupt request",
    "corrupt answer",
    "answer is longer",
    "answer is shorter",
    "answer of another",
)
UNTRUE = frozenset({"corrupt request", "corrupt answer", "answer is shorter", "answer of another"})
TRUTHFUL = tuple(fault for fault in FAULTS if fault not in UNTRUE)
"""Those after which nobody has been told anything that is not so."""

STALL = "stall"
"""The request is taken and not answered: for clients that give up soon."""

SLOW_DOWN = b"<Error><Code>SlowDown</Code></Error>"
STATUSES = (500, 502, 503, 429, 403, 412, 404)
STALL_SECONDS = 30.0


@dataclass
class Faults:
    """What goes wrong: set ``rate`` to 0 for nothing; counts what did, and all that was asked.

    Attributes:
        kinds: what may go wrong.
        statuses: what is answered to what is refused.
        too_many: so many of the next requests are asked to slow down.
        arrived: counts the requests that are held.
        go_on: ends that, until `hold` is called again.
    """

    endpoint: str
    rate: float = 0.0
    kinds: Sequence[str] = FAULTS
    statuses: Sequence[int] = STATUSES
    random: random.Random = field(default_factory=lambda: random.Random(0))
    done: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    too_many: int = 0
    _held: str = ""
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)
    before: tuple[int, list[tuple[str, str]], bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, seed: int, rate: float) -> None:
        """The faults of this seed from now on."""
        with self.lock:
            self.random, self.rate = random.Random(seed), rate

    def hold(self, path: str) -> None:
        """Let requests whose path has this in it wait."""
        self.arrived, self.go_on, self._held = threading.Semaphore(0), threading.Event(), path

    def wait_if_held(self, path: str) -> None:
        """Wait for ``go_on`` if a request for this path has to."""
        if self._held and self._held in path:
            self.arrived.release()
            self.go_on.wait(STALL_SECONDS)

    def tell_no_lies(self) -> None:
        """Faults of a line and of a store that is not well: nothing that is there is said not to be, or to be other."""
        # Seldom one that costs whoever waits his time.
        self.kinds = (*TRUTHFUL * 3, STALL)
        self.statuses = [status for status in STATUSES if status != 404]

    def next(self) -> tuple[str, float]:
        """The fault of the next request, or none, and a number from 0 to 1 that says where."""
        with self.lock:
            self.asked += 1
            if self.too_many > 0:
                self.too_many -= 1
                return "slow down", 0.0
            if self.random.random() >= self.rate:
                return "", 0.0
            fault = self.random.choice(self.kinds)
            self.done[fault] += 1
            return fault, self.random.random()


@contextmanager
def fault_proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Faults]:
    """A proxy in front of a server, ``http://HOST:PORT``; lets everything through until it is told otherwise.

    Named in ``HTTP_PROXY`` it is asked for every host, and asks the server.

    Args:
        upstream: the server.
        tls: what it shows to its clients, whom it then answers as ``https://localhost:PORT``.
    """
    host = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            with suppress(OSError, http.client.HTTPException):
                _pass(self, host, faults)
                return
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as server:
        faults = Faults(f"http://127.0.0.1:{server.server_address[1]}")
        if tls is not None:
            faults.endpoint = f"https://localhost:{server.server_address[1]}"
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield faults
        finally:
            server.shutdown()
            thread.join()


def _pass(handler: BaseHTTPRequestHandler, upstream: str, faults: Faults) -> None:
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    faults.wait_if_held(handler.path)
    fault, where = faults.next()
    if fault == "cut before":
        return _cut(handler)
    if fault == STALL:
        # Until the client goes.
        select.select([handler.connection], [], [], STALL_SECONDS)
        return _cut(handler)
    if fault == "refuse":
        return _refuse(handler, where, faults.statuses)
    if fault == "slow down":
        return _answer(handler, 503, [], SLOW_DOWN, len(SLOW_DOWN))
    if fault == "delay":
        time.sleep(0.05 * where)
    if fault == "corrupt request" and body:
        body = _flipped(body, where)
    status, headers, answer = _ask(handler, upstream, body, where if fault == "cut in request" else 1.0)
    if fault in ("cut after", "cut in request"):
        return _cut(handler)
    if fault == "refuse after":
        return _refuse(handler, where, faults.statuses)
    if handler.command == "GET":
        # As if two answers had changed places.
        before, faults.before = faults.before, (status, headers, answer)
        if fault == "answer of another" and before is not None:
            status, headers, answer = before
    if fault == "corrupt answer" and answer:
        answer = _flipped(answer, where)
    if handler.command == "HEAD":
        return _answer(handler, status, headers, b"", None)
    told = len(answer)
    if fault == "answer is longer":
        told += 1 + int(1000 * where)
    if fault == "answer is shorter":
        told = int(told * where)
    if fault == "cut in answer":
        answer = answer[: int(len(answer) * where)]
    _answer(handler, status, headers, answer, told)
    if told != len(answer):
        _cut(handler)
    return None


def _ask(
    handler: BaseHTTPRequestHandler, upstream: str, body: bytes, share: float
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection(upstream, timeout=60)
    try:
        connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body[: int(len(body) * share)])
        if share < 1.0:
            return 0, [], b""
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def _answer(
    handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], answer: bytes, told: int | None
) -> None:
    handler.send_response_only(status)
    for name, value in headers:
        if name.lower() in ("connection", "transfer-encoding") or (
            told is not None and name.lower() == "content-length"
        ):
            continue
        handler.send_header(name, value)
    if told is not None and status not in (204, 304):
        handler.send_header("Content-Length", str(told))
    handler.end_headers()
    handler.wfile.write(answer)


def _refuse(handler: BaseHTTPRequestHandler, where: float, statuses: Sequence[int]) -> None:
    status = statuses[int(where * len(statuses))]
    _answer(handler, status, [], b"" if handler.command == "HEAD" else b"<Error/>", 8)


def _flipped(content: bytes, where: float) -> bytes:
    at = int(where * len(content))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)

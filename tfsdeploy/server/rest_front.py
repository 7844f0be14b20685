"""REST's front end: HTTP/1.1 on the event loop; requests of one connection are answered in their order."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial
from typing import Final

from tfsdeploy.server import http_reader
from tfsdeploy.server.http_reader import Reader, Refused, Request
from tfsdeploy.server.pace import SMALL_BYTES
from tfsdeploy.server.rest import Reply, Rest
from tfsdeploy.server.workers import Workers

AHEAD_BYTES: Final = 2**20
"""Who asks faster than it is answered is read so far ahead."""


@dataclass(slots=True)
class Front:
    """What all connections share.

    Attributes:
        rest: answers.
        workers: where it does.
        connections: those that are open.
    """

    rest: Rest
    workers: Workers
    connections: set[Connection] = field(default_factory=set)
    _date: tuple[int, str] = (0, "")

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def date(self) -> str:
        """Of this second."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True))
        return self._date[1]


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        front: shared with the others.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._answering = False
        self._leaving = False
        self._over = False
        self._full = False
        self._paused = False
        self._continued = False

    # What asyncio tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        """A client is there."""
        self._transport = transport
        self._front.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self._reader.feed(data)
        self._go_on()

    def eof_received(self) -> bool:
        """The client sends no more, but may well read: what it asked is answered."""
        self._leaving = self._over = True
        return self._answering or self._full

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._front.connections.discard(self)

    def pause_writing(self) -> None:
        """It does not read its answers: no more are made until it does."""
        self._full = True
        self._read_on(False)

    def resume_writing(self) -> None:
        """It reads again."""
        self._full = False
        self._go_on()

    # What is done.

    def leave(self) -> None:
        """End when what is being asked, or answered, is answered."""
        self._leaving = True
        if not self._answering and self._reader.between:
            self._transport.close()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    def _go_on(self) -> None:
        """Answer what is there and may be answered."""
        while not (self._answering or self._full or self._transport.is_closing()):
            try:
                request = self._reader.take()
            except Refused as refused:
                self._end(http_reader.page(refused, self._front.date()))
                return
            if request is None:
                if self._over or (self._leaving and self._reader.between):
                    # Half a request at most, and the client has said that no more comes.
                    self._transport.close()
                    return
                if self._reader.awaits_continue and not self._continued:
                    self._continued = True
                    self._transport.write(b"HTTP/1.1" + http_reader.CONTINUE)
                break
            self._answering, self._continued = True, False
            self._front.workers.answer(
                partial(self._front.rest.handle, request.method, request.path, request.headers, request.body),
                partial(self._answered, request),
                small=len(request.body) <= SMALL_BYTES,
                aside=self._front.rest.of_the_server(request.path),
            )
        self._read_on(not self._full and (not self._answering or len(self._reader) < AHEAD_BYTES))

    def _answered(self, request: Request, reply: Reply) -> None:
        self._answering = False
        if self._transport.is_closing():
            return
        if reply.last or (self._leaving and self._reader.between):
            request = replace(request, keeps=False)
        body = reply.body.encode("utf-8", errors="surrogateescape")
        answer = http_reader.head(
            request, reply.code, reply.content_type, len(body), self._front.date(), reply.headers.items()
        )
        if request.method != "HEAD":
            answer += body
        if not request.keeps:
            self._end(answer)
            return
        self._transport.write(answer)
        if self._paused or len(self._reader):
            # What was asked meanwhile; not at once, so that other clients have their turn.
            self._loop.call_soon(self._go_on)

    def _end(self, answer: bytes) -> None:
        self._transport.write(answer)
        self._transport.close()

    def _read_on(self, wanted: bool) -> None:
        if wanted is self._paused and not self._transport.is_closing():
            self._paused = not wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

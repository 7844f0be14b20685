"""Objects of the API server, followed: a list, then a watch from its version on, and anew whenever that breaks."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from aiohttp.typedefs import Query

from tfsdeploy.agent.kubernetes.account import Account

log = logging.getLogger(__name__)

Object = Mapping[str, Any]

LIST_SECONDS = 15.0

WATCH_SECONDS = (60, 90)
"""A watch is asked anew after this time (each agent's own, so that not all do at once): however a connection may have
died without a word, no change is missed for longer."""

CONNECT_SECONDS = 3.0

BRIEF_SECONDS = 1.0
"""A watch that ends sooner, and said nothing, has failed."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between tries; each is twice as long as the one before, and by chance up to half shorter."""

MAX_LINE_BYTES = 16 * 1024 * 1024

GONE = 410
"""The version is too old to watch from (kubernetes.io/docs/reference/using-api/api-concepts, "410 Gone")."""

# A peer that went without a word is noticed within 11 s, and not first when it is written to.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))


_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes of reading an answer that is none of the API server's."""


class Refused(Exception):
    """The API server's own words for what it does not do."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Watched:
    """All objects that a path and a selector give.

    Args:
        account: who asks.
        path: of the resource.
        selector: ``fieldSelector`` or ``labelSelector``.
    """

    def __init__(self, account: Account, path: str, selector: Mapping[str, str]) -> None:
        self._account = account
        self._path = path
        self._selector = dict(selector)
        self._pause = FIRST_PAUSE
        self._trouble = ""
        self._objects: dict[str, Object] = {}
        self._version = ""

    async def states(self) -> AsyncIterator[Mapping[str, Object]]:
        """Name -> object: at once, and whenever one changes; what cannot be asked for changes nothing."""
        # One connection, which the server closes when it restarts: nothing is kept that could be stale.
        connector = TCPConnector(limit=1, socket_factory=_socket)
        async with ClientSession(connector=connector, trust_env=False) as session:
            while True:
                try:
                    await self._list(session)
                    yield self._objects
                    while True:
                        async for _ in self._watch(session):
                            yield self._objects
                except (ClientError, OSError, TimeoutError, Refused, *_NONSENSE) as error:
                    await self._rest(error)

    async def _list(self, session: ClientSession) -> None:
        timeout = ClientTimeout(total=LIST_SECONDS, sock_connect=CONNECT_SECONDS)
        async with self._ask(session, self._selector, timeout) as response:
            await _check(response)
            found = json.loads(await response.read())
        self._objects = {item["metadata"]["name"]: item for item in found["items"]}
        self._version = found["metadata"]["resourceVersion"]

    async def _watch(self, session: ClientSession) -> AsyncIterator[None]:
        """One watch, to its end; each time that the objects have changed."""
        seconds, began = random.randint(*WATCH_SECONDS), time.monotonic()
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": self._version}
        query |= {"timeoutSeconds": str(seconds), **self._selector}
        timeout = ClientTimeout(total=seconds + 10, sock_connect=CONNECT_SECONDS)
        said = False
        async with self._ask(session, query, timeout) as response:
            await _check(response)
            lasting = asyncio.get_running_loop().call_later(BRIEF_SECONDS, self._well)
            try:
                async for line in _lines(response):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise Refused(int(status.get("code", 500)), str(status.get("message", "")))
                    self._well()
                    said = True
                    if self._take(event["type"], event["object"]):
                        yield
            finally:
                lasting.cancel()
        if not said and time.monotonic() - began < BRIEF_SECONDS:
            raise Refused(response.status, "the watch ended at once")
        self._well()

    def _take(self, kind: str, item: Object) -> bool:
        """What an event means; whether the objects have changed."""
        self._version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return False
        others = {name: one for name, one in self._objects.items() if name != item["metadata"]["name"]}
        self._objects = others if kind == "DELETED" else {**others, item["metadata"]["name"]: item}
        return True

    def _ask(self, session: ClientSession, query: Query, timeout: ClientTimeout) -> Any:
        account = self._account
        return session.get(
            account.url + self._path, params=query, headers=account.headers(), ssl=account.tls(), timeout=timeout
        )

    def _well(self) -> None:
        self._pause = FIRST_PAUSE
        if self._trouble:
            log.info("%s: followed again", self._path)
        self._trouble = ""

    async def _rest(self, error: Exception) -> None:
        expired = isinstance(error, Refused) and error.code == GONE
        trouble = f"{type(error).__name__}: {error}" if not isinstance(error, Refused) else str(error)
        if not expired and trouble != self._trouble:
            self._trouble = trouble
            log.warning("%s cannot be followed; the last that was seen stays: %s", self._path, trouble)
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))


async def _check(response: ClientResponse) -> None:
    """Raise what the API server answered instead of objects."""
    if response.status != 200:
        raise Refused(response.status, said(await response.read()))


def said(body: bytes) -> str:
    """The words of a ``Status`` object, or whatever else came."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace").strip()


async def _lines(response: ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer that goes on; one can be as long as the largest object."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        *lines, last = chunk.split(b"\n")
        for line in lines:
            yield bytes(rest) + line
            rest.clear()
        rest += last
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made

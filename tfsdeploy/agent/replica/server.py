"""The model server, as its agent sees it: one connection that tells that it lives, and its status over REST."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import aiohttp

from tfsdeploy.protocol.rest import StatusRow, parse_model_status

CONNECT_SECONDS = 1.0

ANSWER_SECONDS = 2.5
"""A server that twice gives no status for so long is as good as dead; shorter would evict one that is merely busy."""

ATTEMPTS = 2

NOBODY = "-"
"""A name that no model has: asking for it tells that the server answers."""


class NoAnswer(Exception):
    """The server is there or not, but does not answer."""


class ModelServer:
    """One model server, on this machine or on the next one.

    Args:
        rest: its ``host:port``.
    """

    def __init__(self, rest: str) -> None:
        host, _, port = rest.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._url = f"http://{rest}/v1/models/"
        self._reached = self._host
        self._alive: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def connected(self) -> bool:
        """Whether the connection stands; when it closes, nothing is AVAILABLE."""
        return self._alive is not None and not self._alive[0].at_eof() and self._alive[0].exception() is None

    def located(self, address: str) -> str:
        """``address`` with the IP at which the server was last reached, if it names the server as the agent does.

        A container's name stays while its IP changes; gateways are told the IP, so that none of them has to ask a name
        server that may be away.
        """
        host, _, port = address.rpartition(":")
        if host.strip("[]") != self._host:
            return address
        return f"[{self._reached}]:{port}" if ":" in self._reached else f"{self._reached}:{port}"

    async def connect(self) -> bool:
        """Make the connection if it does not stand; False while nothing listens.

        The original closes a connection that was idle for 50 s (libevent's HTTP_READ_TIMEOUT), so one that closed is
        no proof of a death; one that cannot be made again at once is.
        """
        if self.connected:
            return True
        await self.close()
        try:
            self._alive = await asyncio.wait_for(asyncio.open_connection(self._host, self._port), CONNECT_SECONDS)
        except (OSError, TimeoutError):
            return False
        self._reached = self._alive[1].get_extra_info("peername", (self._host,))[0]
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))
        return True

    async def closed(self) -> None:
        """Returns when the connection closes."""
        if self._alive is not None:
            # Nothing is ever sent on it, so whatever comes is its end.
            with contextlib.suppress(OSError):
                await self._alive[0].read(1)

    async def rows(self, names: Iterable[str], attempts: int = ATTEMPTS) -> dict[str, tuple[StatusRow, ...]]:
        """The status of some models; a model that the server does not know has no rows.

        Args:
            names: the models; without any it is only found out whether the server answers.
            attempts: how often each is asked for; a process that was stopped meanwhile finds its first one overdue.

        Raises:
            NoAnswer: the server does not answer.
        """
        asked = list(names)
        found = {name: await self._of(name, attempts) for name in asked or [NOBODY]}
        return found if asked else {}

    async def close(self) -> None:
        """Let go of the server."""
        if self._alive is not None:
            self._alive[1].close()
            self._alive = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _of(self, name: str, attempts: int) -> tuple[StatusRow, ...]:
        if self._session is None:
            raise NoAnswer("the model server is not there")
        try:
            async with self._session.get(self._url + name) as response:
                body = await response.read()
        except TimeoutError as error:
            if attempts > 1:
                return await self._of(name, attempts - 1)
            raise NoAnswer("the model server does not answer") from error
        except aiohttp.ClientError as error:
            raise NoAnswer(f"the model server does not answer: {error}") from error
        if response.status != 200:
            return ()
        try:
            return parse_model_status(body)
        except ValueError as error:
            raise NoAnswer(f"the model server's answer: {error}") from error

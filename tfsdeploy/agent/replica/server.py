"""The model server, as its agent sees it: one connection that tells that it lives, and its status over REST."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import aiohttp

from tfsdeploy.protocol.rest import StatusRow, parse_model_status

CONNECT_SECONDS = 1.0

HUNG_SECONDS = 5.0
"""A server that answers no status for so long is as good as dead; shorter would evict one that is merely busy."""

NOBODY = "-"
"""A name that no model has: asking for it tells that the server answers."""


class ModelServer:
    """One model server on this machine.

    Args:
        rest: its ``host:port``.
    """

    def __init__(self, rest: str) -> None:
        self._host, _, port = rest.rpartition(":")
        self._port = int(port)
        self._url = f"http://{rest}/v1/models/"
        self._alive: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def connected(self) -> bool:
        """Whether the connection stands; when it closes, nothing is AVAILABLE."""
        return self._alive is not None and not self._alive[0].at_eof()

    async def connect(self) -> bool:
        """Make the connection if it does not stand; False while nothing listens."""
        if self.connected:
            return True
        await self._disconnect()
        try:
            self._alive = await asyncio.wait_for(asyncio.open_connection(self._host, self._port), CONNECT_SECONDS)
        except (OSError, TimeoutError):
            return False
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HUNG_SECONDS))
        return True

    async def closed(self) -> None:
        """Returns when the connection closes."""
        if self._alive is not None:
            # Nothing is ever sent on it, so whatever comes is its end.
            with contextlib.suppress(OSError):
                await self._alive[0].read(1)

    async def rows(self, names: Iterable[str]) -> dict[str, tuple[StatusRow, ...]]:
        """The status of some models; a model that the server does not know has no rows.

        Raises:
            OSError: the server does not answer.
        """
        found: dict[str, tuple[StatusRow, ...]] = {}
        for name in names or (NOBODY,):
            found[name] = await self._of(name)
        return found

    async def close(self) -> None:
        """Let go of the server."""
        await self._disconnect()

    async def _of(self, name: str) -> tuple[StatusRow, ...]:
        if self._session is None:
            raise OSError("not connected")
        try:
            async with self._session.get(self._url + name) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"the model server does not answer: {type(error).__name__}") from error
        if response.status != 200:
            return ()
        try:
            return parse_model_status(body)
        except ValueError as error:
            raise OSError(str(error)) from error

    async def _disconnect(self) -> None:
        if self._alive is not None:
            self._alive[1].close()
            self._alive = None
        if self._session is not None:
            await self._session.close()
            self._session = None

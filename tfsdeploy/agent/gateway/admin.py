"""Envoy's administration interface, asked over its UNIX socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import aiohttp
from yarl import URL

from tfsdeploy.gateway.admin import VERSION_STATISTIC

ANSWER_SECONDS = 5.0
"""Envoy answers from its main thread in milliseconds; loading thousands of clusters takes a second."""


class NotRunning(Exception):
    """Nobody listens: an Envoy that is started after this reads every file as it stands now."""


class NoAnswer(Exception):
    """Somebody listens but does not answer as it should, or not now."""


STATISTICS = r"/stats?filter=(\.version_text|\.(cds|lds|rest|grpc)\.update_rejected|\.lua\.errors|^server\.uptime)$"

_REJECTIONS = tuple(name.replace("version_text", "update_rejected") for name in VERSION_STATISTIC.values())


@dataclass(frozen=True, slots=True)
class Statistics:
    """What Envoy says of itself.

    Attributes:
        text: its answer, for `tfsdeploy.gateway.admin.acknowledged`.
        rejections: how many files it has refused since it started.
        lua_errors: how many requests a script of ours has failed since it started.
    """

    text: str
    rejections: int
    lua_errors: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The statistics of an answer in Envoy's plain format."""
        values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        rejections = sum(int(values.get(name, "0")) for name in _REJECTIONS)
        return cls(text, rejections, sum(int(value) for name, value in values.items() if name.endswith(".lua.errors")))


class Admin:
    """One Envoy.

    Args:
        socket: path of its administration socket; at most 107 bytes, so best relative to the working directory.
    """

    def __init__(self, socket: str) -> None:
        self._session = aiohttp.ClientSession(
            "http://envoy",
            connector=aiohttp.UnixConnector(socket),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def get(self, path: str) -> str:
        """The answer to a question.

        Raises:
            NotRunning: nobody listens.
            NoAnswer: no answer, or not the one that was asked for.
        """
        return (await self._ask("GET", path)).decode()

    async def post(self, path: str) -> None:
        """Have something done; raises as `get` does."""
        await self._ask("POST", path)

    async def statistics(self) -> Statistics:
        """What the agent watches; raises as `get` does."""
        return Statistics.parse(await self.get(STATISTICS))

    async def prometheus(self) -> bytes:
        """All statistics as Prometheus reads them; raises as `get` does."""
        return await self._ask("GET", "/stats/prometheus")

    async def _ask(self, method: str, path: str) -> bytes:
        try:
            async with self._session.request(method, URL(path, encoded=True)) as response:
                body = await response.read()
                if response.status != 200:
                    raise NoAnswer(f"Envoy: {path}: {response.status}: {body[:200].decode(errors='replace')}")
                return body
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ConnectionRefusedError | FileNotFoundError):
                raise NotRunning("Envoy does not run") from error
            raise NoAnswer(f"Envoy: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(f"Envoy: {path}: {type(error).__name__}: {error}") from error

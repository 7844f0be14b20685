"""The status server of both agents: one document, long polls with beats, health and metrics; it only ever reads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.protocol.agents import BEAT_SECONDS, LEASE_SECONDS, etag

LONGEST_WAIT = LEASE_SECONDS / 2
"""However long a gateway wants to wait, it is heard of again well within its lease."""

GONE = "gone"
"""What a gateway says it applied when it has left: nobody has to wait for it any more."""


class StatusServer:
    """Serves ``/v1/status``, ``/healthz``, ``/startedz``, ``/readyz`` and ``/metrics``.

    Args:
        listen: ``host:port``.
        started: what ``/startedz`` says: the process beside this agent has the files that it starts with.
        ready: what ``/readyz`` says.
        metrics: the text of ``/metrics``; may be awaited.
        on_poll: hears of every poll that names a gateway: its id, and the etag that it has applied.
        pages: what else is served.
    """

    def __init__(
        self,
        listen: str,
        *,
        started: Callable[[], bool],
        ready: Callable[[], bool],
        metrics: Callable[[], bytes | Awaitable[bytes]],
        on_poll: Callable[[str, str], None] | None = None,
        pages: Sequence[web.RouteDef] = (),
    ) -> None:
        self._listen = listen
        self._started = started
        self._ready = ready
        self._metrics = metrics
        self._on_poll = on_poll
        self._pages = pages
        self._body = b"{}"
        self._etag = etag(self._body)
        self._changed = asyncio.Event()
        self._closing = False
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            TfsdeployError: the address cannot be bound.
        """
        application = web.Application()
        application.add_routes(
            [
                web.get("/v1/status", self._status),
                web.get("/healthz", self._health),
                web.get("/startedz", self._start),
                web.get("/readyz", self._readiness),
                web.get("/metrics", self._page),
                *self._pages,
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        host, _, port = self._listen.rpartition(":")
        try:
            await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            await self._runner.cleanup()
            raise TfsdeployError(f"the status server cannot listen: {error.strerror}", where=self._listen) from error

    def publish(self, body: bytes) -> str:
        """Make ``body`` the document, and answer everybody who waits for another one.

        Returns:
            Its etag.
        """
        if body != self._body:
            self._body, self._etag = body, etag(body)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
        return self._etag

    async def close(self) -> None:
        """Answer who still waits, and stop listening."""
        self._closing = True
        self._changed.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _status(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if self._on_poll is not None and "gateway" in query:
            self._on_poll(query["gateway"], query.get("applied", ""))
        known, wait = query.get("etag", ""), _seconds(query.get("wait", "0"))
        if known != self._etag or not wait > 0:
            return web.Response(body=self._body, content_type="application/json", headers={"ETag": self._etag})
        response = web.StreamResponse()
        response.content_type = "application/json"
        try:
            await response.prepare(request)
            await self._poll(response, known, wait)
        except ConnectionResetError:
            # Whoever asked went away, such as a command that ended.
            pass
        return response

    async def _poll(self, response: web.StreamResponse, known: str, wait: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while known == self._etag and not self._closing and loop.time() < end:
            try:
                await asyncio.wait_for(self._changed.wait(), min(BEAT_SECONDS, end - loop.time()))
            except TimeoutError:
                await response.write(b"\n")
        await response.write(self._body.strip() + b"\n")

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _start(self, request: web.Request) -> web.Response:
        return _answer(self._started(), "started")

    async def _readiness(self, request: web.Request) -> web.Response:
        return _answer(self._ready(), "ready")

    async def _page(self, request: web.Request) -> web.Response:
        page = self._metrics()
        body = await page if inspect.isawaitable(page) else page
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})


def _answer(so: bool, word: str) -> web.Response:
    return web.Response(text=f"{word}\n") if so else web.Response(status=503, text=f"not {word}\n")


def _seconds(text: str) -> float:
    try:
        return min(float(text), LONGEST_WAIT)
    except ValueError:
        return 0.0

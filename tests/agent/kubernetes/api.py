"""An API server that says what a test wants: for what a real one does too seldom to be waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.ports import free_ports
from tfsdeploy.agent.kubernetes.account import Account

CERTIFICATE = Path(__file__).parent / "ca.crt"


class Script:
    """What is answered next: a list answers a list, a watch what is put into its queue."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.version = "1"
        self.status = 200
        self.lists = 0
        self.watched_from: list[str] = []
        self.tokens: list[str] = []
        self.said: asyncio.Queue[bytes | None] = asyncio.Queue()

    def say(self, kind: str, item: dict[str, Any]) -> None:
        """An event of the watch."""
        self.said.put_nowait(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def cut(self) -> None:
        """End the watch."""
        self.said.put_nowait(None)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.tokens.append(request.headers["Authorization"])
        if self.status != 200:
            return web.json_response({"kind": "Status", "message": "not now"}, status=self.status)
        if "watch" not in request.query:
            self.lists += 1
            return web.json_response({"metadata": {"resourceVersion": self.version}, "items": self.items})
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        while (chunk := await self.said.get()) is not None:
            await response.write(chunk)
        return response


@asynccontextmanager
async def api(folder: Path) -> AsyncIterator[tuple[Script, Account]]:
    """A server for the time of the block, and an account that talks to it."""
    script, (port,) = Script(), free_ports(1)
    application = web.Application()
    application.router.add_get("/{path:.*}", script.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    (folder / "token").write_text("first")
    (folder / "namespace").write_text("here")
    (folder / "ca.crt").write_bytes(CERTIFICATE.read_bytes())
    try:
        yield script, Account(f"http://127.0.0.1:{port}", folder)
    finally:
        script.cut()
        await runner.cleanup()


def configmap(name: str, version: int, **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "data": data}

"""The newest release that agents remember, over real HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from aiohttp import web

from tests.gateway.harness import free_ports
from tfsdeploy.agent.release_page import release_page
from tfsdeploy.release.model import Change, Release
from tfsdeploy.release.remembered import newest

FIRST = Release("shop", "u1", 1, Change("ann", "", "", "up"))
SECOND = FIRST.next({}, FIRST.change)


@contextmanager
def agent(release: Release | None) -> Iterator[str]:
    """An agent that follows a release; its base URL."""
    loop, port = asyncio.new_event_loop(), free_ports(1)[0]
    application = web.Application()
    application.add_routes([release_page(lambda: release)])
    runner = web.AppRunner(application)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", port).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


@pytest.mark.parametrize(
    ("followed", "found"),
    [
        ([], None),
        ([None, None], None),
        ([FIRST, SECOND, None], SECOND),
        ([Release("other", "u2", 9, FIRST.change), FIRST], FIRST),
    ],
)
def test_newest(followed: list[Release | None], found: Release | None) -> None:
    with ExitStack() as stack:
        urls = [stack.enter_context(agent(release)) for release in followed]
        assert newest([*urls, f"http://127.0.0.1:{free_ports(1)[0]}"], "shop") == found

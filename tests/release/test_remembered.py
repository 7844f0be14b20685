"""The newest release that agents remember, over real HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from aiohttp import web

from tests.ports import free_ports
from tfsdeploy.agent.release_page import release_page
from tfsdeploy.release.history import Entry
from tfsdeploy.release.model import Change, InvalidRelease, OtherVersion, Release, decode
from tfsdeploy.release.remembered import PATH, newest, numbered

FIRST = Release("shop", "u1", 1, Change("ann", "", "", "up"))
SECOND = FIRST.next({}, FIRST.change)


def agent(release: Release | None) -> AbstractContextManager[str]:
    """An agent that follows a release; its base URL."""
    return served(release_page(lambda: release))


@contextmanager
def served(page: web.RouteDef) -> Iterator[str]:
    """A status server with one page; its base URL."""
    loop, port = asyncio.new_event_loop(), free_ports(1)[0]
    application = web.Application()
    application.add_routes([page])
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
        # An earlier life of the fleet, in which one agent still is.
        ([Release("shop", "u0", 9, FIRST.change), FIRST, SECOND], SECOND),
    ],
)
def test_newest(monkeypatch: pytest.MonkeyPatch, followed: list[Release | None], found: Release | None) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_ports(1)[0]}")
    with ExitStack() as stack:
        urls = [stack.enter_context(agent(release)) for release in followed]
        assert newest([*urls, f"http://127.0.0.1:{free_ports(1)[0]}"], "shop") == found


def test_what_agents_of_a_later_version_follow_is_not_taken_for_nothing() -> None:
    async def later(request: web.Request) -> web.Response:
        return web.json_response({"apiVersion": "tfsdeploy/v2"})

    with served(web.get(PATH, later)) as url, agent(FIRST) as old, pytest.raises(OtherVersion):
        newest([old, url], "shop")


@pytest.mark.parametrize(
    ("history", "generation"),
    [
        ([], 2),
        ([("u1", 1)], 2),
        # Generation 6 was lost before any agent that answers had heard of it.
        ([("u1", 4), ("u1", 5)], 6),
        ([("u0", 40), ("u1", 1)], 2),
    ],
)
def test_what_is_put_back_is_followed_by_all(history: list[tuple[str, int]], generation: int) -> None:
    entries = [Entry(uid, number, FIRST.change) for uid, number in history]
    found = numbered(SECOND, entries)
    assert found.generation == generation
    assert (found == SECOND) == (generation == SECOND.generation)
    assert ("generation 2" in found.change.command) == (generation != SECOND.generation)


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ('{"apiVersion": "tfsdeploy/v2", "release": {}}', True),
        ('{"apiVersion": "v1"}', False),
        ("{}", False),
        ("[", False),
    ],
)
def test_a_later_versions_document_is_no_nonsense(text: str, ours: bool) -> None:
    with pytest.raises(InvalidRelease) as raised:
        decode(text)
    assert isinstance(raised.value, OtherVersion) == ours
    assert bool(raised.value.hint) == ours

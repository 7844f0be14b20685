"""The status server: documents, long polls with beats, health; over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.ports import free_ports
from tfsdeploy.agent.status import StatusServer
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.protocol.agents import etag

ONE, TWO = b'{"n":1}', b'{"n":2}'


class Served:
    """A status server and somebody who asks it."""

    def __init__(self, listen: str, server: StatusServer, session: aiohttp.ClientSession) -> None:
        self.listen = listen
        self.server = server
        self.session = session
        self.polls: list[tuple[str, str]] = []
        self.has_started = self.is_ready = False

    async def get(self, path: str, **query: str | int) -> tuple[int, bytes]:
        async with self.session.get(path, params=query) as response:
            return response.status, await response.read()


def served(test: Callable[[Served], Awaitable[None]]) -> None:
    """Run a test against a server of its own."""

    async def run() -> None:
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        async with aiohttp.ClientSession(f"http://{listen}") as session:
            server = StatusServer(
                listen,
                started=lambda: made.has_started,
                ready=lambda: made.is_ready,
                metrics=lambda: b"up 1\n",
                on_poll=lambda gateway, applied: made.polls.append((gateway, applied)),
            )
            made = Served(listen, server, session)
            server.publish(ONE)
            await server.start()
            try:
                await asyncio.wait_for(test(made), 60)
            finally:
                await server.close()

    asyncio.run(run())


def test_the_document_and_its_etag() -> None:
    async def test(made: Served) -> None:
        async with made.session.get("/v1/status") as response:
            body = await response.read()
            assert (json.loads(body), response.headers["ETag"]) == ({"n": 1}, etag(body))
        assert etag(body) == made.server.publish(ONE)

    served(test)


def test_a_poll_that_knows_another_document_is_answered_at_once() -> None:
    async def test(made: Served) -> None:
        assert (await made.get("/v1/status", wait=30, etag="other"))[1] == ONE
        assert (await made.get("/v1/status", wait=30))[1] == ONE

    served(test)


def test_a_poll_beats_until_the_document_changes() -> None:
    async def test(made: Served) -> None:
        async with made.session.get("/v1/status", params={"wait": "30", "etag": etag(ONE)}) as response:
            assert set(await response.content.readany()) == set(b"\n")
            made.server.publish(ONE)  # the same again is no change
            made.server.publish(TWO)
            rest = await response.read()
        assert rest.strip() == TWO
        assert rest.endswith(b"\n")

    served(test)


def test_a_poll_ends_with_the_document_when_its_time_is_over() -> None:
    async def test(made: Served) -> None:
        assert (await made.get("/v1/status", wait="0.05", etag=etag(ONE)))[1].strip() == ONE

    served(test)


@pytest.mark.parametrize("wait", ["nonsense", "-3", "nan", ""])
def test_a_wait_that_is_none_is_answered_at_once(wait: str) -> None:
    async def test(made: Served) -> None:
        assert await made.get("/v1/status", wait=wait, etag=etag(ONE)) == (200, ONE)

    served(test)


def test_everybody_who_waits_hears_of_a_change() -> None:
    async def test(made: Served) -> None:
        query = {"wait": 30, "etag": etag(ONE)}
        waiting = [asyncio.create_task(made.get("/v1/status", gateway=f"g{n}", **query)) for n in range(20)]
        while len(made.polls) < len(waiting):
            await asyncio.sleep(0.01)
        made.server.publish(TWO)
        assert {body.strip() for _, body in await asyncio.gather(*waiting)} == {TWO}

    served(test)


def test_polls_tell_what_a_gateway_has_applied() -> None:
    async def test(made: Served) -> None:
        await made.get("/v1/status", gateway="g1", applied="abc")
        await made.get("/v1/status", gateway="g2")
        await made.get("/v1/status")
        assert made.polls == [("g1", "abc"), ("g2", "")]

    served(test)


def test_who_waits_is_answered_when_the_server_closes() -> None:
    async def test(made: Served) -> None:
        waiting = asyncio.create_task(made.get("/v1/status", wait=30, etag=etag(ONE), gateway="g1"))
        while not made.polls:
            await asyncio.sleep(0.01)
        await made.server.close()
        assert (await waiting)[1].strip() == ONE

    served(test)


def test_health_start_readiness_and_metrics() -> None:
    async def test(made: Served) -> None:
        assert (await made.get("/healthz"))[0] == 200
        assert (await made.get("/startedz"))[0] == 503
        made.has_started = True
        assert (await made.get("/startedz"))[0] == 200
        assert (await made.get("/readyz"))[0] == 503
        made.is_ready = True
        assert (await made.get("/readyz"))[0] == 200
        assert await made.get("/metrics") == (200, b"up 1\n")

    served(test)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_there_is_no_way_to_write(method: str) -> None:
    async def test(made: Served) -> None:
        for path in ("/v1/status", "/healthz", "/startedz", "/readyz", "/metrics"):
            async with made.session.request(method, path, data=TWO) as response:
                assert response.status == 405
        assert (await made.get("/v1/status"))[1] == ONE

    served(test)


def test_an_address_that_is_taken_is_named() -> None:
    async def test(made: Served) -> None:
        other = StatusServer(made.listen, started=lambda: True, ready=lambda: True, metrics=lambda: b"")
        with pytest.raises(TfsdeployError, match="cannot listen") as raised:
            await other.start()
        assert raised.value.where == made.listen

    served(test)

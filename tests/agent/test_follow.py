"""Following an agent: changes, beats, silence, acknowledgements; against a server that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.ports import free_ports
from tfsdeploy.agent import follow
from tfsdeploy.agent.follow import AwakeClock, Follower
from tfsdeploy.protocol.agents import etag


class Agent:
    """Answers polls by the protocol; hangs when told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.document = b"{}"
        self.hangs = False
        self.polls: list[dict[str, str]] = []
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/v1/status", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def say(self, **facts: object) -> None:
        self.document = json.dumps(facts).encode()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.polls.append(dict(request.query))
        response = web.StreamResponse()
        try:
            while self.hangs:
                await asyncio.sleep(0.05)
            await response.prepare(request)
            while etag(self.document) == request.query.get("etag"):
                changed = self._changed
                await response.write(b"\n")
                try:
                    await asyncio.wait_for(changed.wait(), 0.5)
                except TimeoutError:
                    while self.hangs:
                        await asyncio.sleep(0.05)
            await response.write(self.document + b"\n")
        except ConnectionError:
            pass
        return response


@asynccontextmanager
async def followed(agent: Agent) -> AsyncIterator[Follower]:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=1.0)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        url = f"http://127.0.0.1:{agent.port}"
        follower = Follower(session, url, clock=AwakeClock(), changed=lambda: None, gateway="g")
        task = asyncio.create_task(follower.run())
        try:
            yield follower
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(check: Callable[[], object], limit: float = 60) -> None:
    async with asyncio.timeout(limit):
        while not check():
            await asyncio.sleep(0.005)


def scenario(play: Callable[[Agent, Follower], Awaitable[None]]) -> None:
    """Play with an agent that answers and its follower."""

    async def run() -> None:
        agent = Agent(free_ports(1)[0])
        await agent.start()
        try:
            async with followed(agent) as follower:
                await play(agent, follower)
        finally:
            agent.hangs = False
            await agent.stop()

    asyncio.run(run())


def test_every_change_is_heard() -> None:
    async def play(agent: Agent, follower: Follower) -> None:
        await until(lambda: follower.document == b"{}")
        for number in range(5):
            agent.say(number=number)
            await until(lambda: follower.document == agent.document)
            assert follower.etag == etag(agent.document)
        assert follower.judged

    scenario(play)


def test_beats_keep_a_document_that_does_not_change() -> None:
    async def play(agent: Agent, follower: Follower) -> None:
        await until(lambda: follower.judged)
        with pytest.raises(TimeoutError):
            await until(lambda: follower.document is None, limit=follow.SILENT_SECONDS + 1)

    scenario(play)


@pytest.mark.parametrize("how", ["hangs", "ends"])
def test_silence_takes_the_document_away_until_it_is_said_anew(how: str) -> None:
    async def play(agent: Agent, follower: Follower) -> None:
        await until(lambda: follower.judged)
        if how == "hangs":
            agent.hangs = True
        else:
            await agent.stop()
        await until(lambda: follower.document is None)
        assert follower.judged
        assert follower.etag == ""
        agent.say(back=True)
        agent.hangs = False
        if how == "ends":
            await agent.start()
        await until(lambda: follower.document == agent.document)

    scenario(play)


def test_an_agent_that_never_answers_is_judged() -> None:
    async def run() -> None:
        async with followed(Agent(free_ports(1)[0])) as follower:
            assert not follower.judged
            await until(lambda: follower.judged)
            assert follower.document is None

    asyncio.run(run())


def test_a_restart_within_two_beats_is_no_silence() -> None:
    async def play(agent: Agent, follower: Follower) -> None:
        await until(lambda: follower.judged)
        await agent.stop()
        agent.say(again=True)
        await agent.start()
        await until(lambda: follower.document != b"{}")
        assert follower.document == agent.document

    scenario(play)


def test_an_acknowledgement_does_not_wait_for_the_poll() -> None:
    async def play(agent: Agent, follower: Follower) -> None:
        await until(lambda: follower.judged and len(agent.polls) >= 2)
        follower.acknowledge(follower.etag)
        await until(lambda: agent.polls[-1]["applied"] == follower.etag)
        assert agent.polls[-1]["gateway"] == "g"

    scenario(play)


def test_time_in_which_this_process_was_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    monkeypatch.setattr(follow.time, "monotonic", lambda: at)
    clock = AwakeClock()
    begin = clock.now()
    at += 0.3
    assert clock.now() - begin == pytest.approx(0.3)
    at += 3600
    assert clock.now() - begin <= 0.3 + 1.2 * follow.LOOK_SECONDS + 1e-6

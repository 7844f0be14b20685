"""The stream of requests against real servers that answer, fail, stall or are gone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import grpc
import grpc.aio
import pytest
from aiohttp import web

from tests.scenarios.stream import asks_of
from tfsdeploy.deploy.histogram import bars
from tfsdeploy.deploy.load import Ask, Background, Stream, Tally

METHOD = "/test.Echo/Call"
PLACES = ("/ask", METHOD)


def is_pong(body: bytes) -> str | None:
    return None if body == b"pong" else f"found {body!r}"


REST = Ask("rest", "/ask", b"ping", is_pong)
GRPC = Ask("grpc", METHOD, b"ping", is_pong)


class Servers:
    """A REST and a gRPC server that answer alike, and count their connections."""

    def __init__(self, answer: Callable[[int], Awaitable[bytes]]) -> None:
        self._answer = answer
        self.rest_peers: set[object] = set()
        self.grpc_peers: set[str] = set()
        self.asked = 0

    async def __aenter__(self) -> Servers:
        app = web.Application()
        app.router.add_post("/ask", self._rest)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.rest = "http://{}:{}".format(*self._runner.addresses[0])
        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._grpc)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Call": handler}),))
        self.grpc = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)
        await self._runner.cleanup()

    async def _rest(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.rest_peers.add(request.transport.get_extra_info("peername"))
        self.asked += 1
        return web.Response(body=await self._answer(self.asked))

    async def _grpc(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.grpc_peers.add(context.peer())
        self.asked += 1
        return await self._answer(self.asked)


async def pong(_: int) -> bytes:
    return b"pong"


def run(
    answer: Callable[[int], Awaitable[bytes]], *asks: Ask, rate: float = 200, **options: float
) -> tuple[Tally, Servers]:
    async def both() -> tuple[Tally, Servers]:
        async with Servers(answer) as servers:
            stream = Stream(servers.rest, servers.grpc, asks, rate, timeout=options.get("timeout", 30.0))
            return await stream.run(options.get("seconds", 0.5)), servers

    return asyncio.run(both())


def test_sent_equals_asked_for() -> None:
    tally, servers = run(pong, REST, GRPC)
    assert (tally.asked, tally.sent, tally.failed, servers.asked) == (100, 100, 0, 100)
    assert len(tally.seconds) == 100
    found = tally.summary()
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_long_lived_and_fresh_connections() -> None:
    _, servers = run(pong, REST, GRPC)
    # Five of fifty requests of each protocol are on connections of their own.
    assert len(servers.rest_peers) >= 6
    assert 6 <= len(servers.grpc_peers) <= 9


def test_every_failure_is_counted_by_kind() -> None:
    async def wrong_at_times(number: int) -> bytes:
        return b"pang" if number % 10 == 0 else b"pong"

    tally, _ = run(wrong_at_times, REST)
    assert tally.failed == 10
    assert list(tally.kinds) == ["rest: wrong answer"]
    assert "found b'pang'" in tally.failures[0][1]


def test_nonsense_with_status_200_is_a_failure_that_is_counted() -> None:
    """Whatever the check makes of it: no request may end up as neither answered nor failed."""
    nonsense = [b"{}", b'{"error": "not now"}', b"[]", b"null", b"", b"\xff", b'{"predictions": []}']

    async def answer(number: int) -> bytes:
        return nonsense[number % len(nonsense)]

    seen: Counter[int] = Counter()
    tally, _ = run(
        answer, *(replace(ask, path=place) for ask, place in zip(asks_of("m", {1}, seen), PLACES, strict=True))
    )
    assert (tally.failed, tally.sent, tally.answered) == (100, 100, 0)
    assert tally.complete
    assert not seen


def test_no_answer_in_time_is_a_failure() -> None:
    async def never(_: int) -> bytes:
        await asyncio.sleep(60)
        return b"pong"

    tally, servers = run(never, REST, GRPC, rate=20, seconds=0.2, timeout=2.0)
    assert tally.failed == tally.sent == 4
    assert servers.asked == 4, "nothing is sent again"


def test_latency_counts_from_when_a_request_was_due() -> None:
    """One stall of the server delays everybody: an open loop sees all of them wait."""

    class Gate:
        def __init__(self) -> None:
            self.until = 0.0

        async def __call__(self, number: int) -> bytes:
            loop = asyncio.get_running_loop()
            if number == 20:
                self.until = loop.time() + 0.25
            await asyncio.sleep(max(0.0, self.until - loop.time()))
            return b"pong"

    tally, _ = run(Gate(), REST)
    assert tally.failed == 0
    assert sum(seconds > 0.05 for seconds in tally.seconds) > 20


def test_nobody_there() -> None:
    async def connect() -> Tally:
        return await Stream("http://127.0.0.1:9", "127.0.0.1:9", [REST, GRPC], 50).run(0.1)

    tally = asyncio.run(connect())
    assert (tally.sent, tally.failed) == (5, 5)
    assert tally.summary()["p50_ms"] is None


def test_a_background_stream_ends_when_told() -> None:
    stream = Stream("http://127.0.0.1:9", "127.0.0.1:9", [REST], 100)
    with Background(stream) as background:
        while background.tally.sent < 5:
            pass
    assert stream.tally.asked == stream.tally.sent == stream.tally.failed


@pytest.mark.parametrize(("seconds", "lines"), [([], 0), ([0.001], 1), ([0.001, 0.002], 3), ([0.001] * 99 + [0.1], 15)])
def test_histogram(seconds: list[float], lines: int) -> None:
    drawn = bars(seconds)
    assert len(drawn) == lines
    assert sum(int(line.split()[-1]) for line in drawn) == len(seconds)

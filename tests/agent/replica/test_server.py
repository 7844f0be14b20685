"""The HTTP client of the model server, against a stand-in that speaks model status only, and misbehaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.ports import free_ports
from tfsdeploy.agent.replica import server as client
from tfsdeploy.agent.replica.server import ModelServer, NoAnswer
from tfsdeploy.protocol.rest import StatusRow, render_model_status

ROWS = (StatusRow(2, "LOADING"), StatusRow(1, "END", "UNKNOWN", "cannot"))


class StandIn:
    """Answers ``GET /v1/models/m`` with `ROWS`; everything else is not known.

    Attributes:
        body: what it answers instead; None: nothing at all, and the connection stays.
    """

    def __init__(self, port: int) -> None:
        self.body: str | None = render_model_status(ROWS)
        self.port = port
        self._server: asyncio.Server | None = None
        self._open: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def close_connections(self) -> None:
        """What the original does to those that were idle for 50 s."""
        for writer in self._open:
            writer.close()
        self._open = []

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.close_connections()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        while (head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"") and self.body is not None:
            there = head.startswith(b"GET /v1/models/m ")
            body = self.body.encode() if there else b'{"error": "not found"}'
            status = "200 OK" if there else "404 Not Found"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def against(test: Callable[[ModelServer, StandIn], Awaitable[None]]) -> None:
    """Run a test with a client and a stand-in that does not listen yet."""

    async def run() -> None:
        port = free_ports(1)[0]
        server, stand_in = ModelServer(f"127.0.0.1:{port}"), StandIn(port)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # readers cut off at the end
        try:
            await asyncio.wait_for(test(server, stand_in), 60)
        finally:
            await server.close()
            stand_in.stop()

    asyncio.run(run())


def test_rows_of_the_models_that_it_knows() -> None:
    async def test(server: ModelServer, stand_in: StandIn) -> None:
        await stand_in.start()
        assert await server.connect()
        assert await server.rows(["m", "unknown"]) == {"m": ROWS, "unknown": ()}
        assert await server.rows([]) == {}

    against(test)


def test_nobody_listens() -> None:
    async def test(server: ModelServer, stand_in: StandIn) -> None:
        assert not await server.connect()
        assert not server.connected
        with pytest.raises(NoAnswer, match="not there"):
            await server.rows([])

    against(test)


def test_a_connection_that_closes_is_noticed_and_made_anew() -> None:
    async def test(server: ModelServer, stand_in: StandIn) -> None:
        await stand_in.start()
        await server.connect()
        await server.rows(["m"])
        stand_in.close_connections()
        await server.closed()
        assert not server.connected
        assert await server.connect()
        assert (await server.rows(["m"]))["m"] == ROWS

    against(test)


def test_a_server_that_ended_cannot_be_connected_to() -> None:
    async def test(server: ModelServer, stand_in: StandIn) -> None:
        await stand_in.start()
        await server.connect()
        stand_in.stop()
        await server.closed()
        assert not await server.connect()

    against(test)


def test_a_server_that_hangs_gives_no_answer_though_its_connection_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.1)

    async def test(server: ModelServer, stand_in: StandIn) -> None:
        await stand_in.start()
        stand_in.body = None
        await server.connect()
        for names in (["m"], []):
            with pytest.raises(NoAnswer, match="does not answer"):
                await server.rows(names)
        assert server.connected

    against(test)


@pytest.mark.parametrize("body", ["", "{", "[]", '{"model_version_status": 3}', '{"model_version_status": [{}]}'])
def test_nonsense_is_no_answer(body: str) -> None:
    async def test(server: ModelServer, stand_in: StandIn) -> None:
        await stand_in.start()
        stand_in.body = body
        await server.connect()
        with pytest.raises(NoAnswer):
            await server.rows(["m"])

    against(test)

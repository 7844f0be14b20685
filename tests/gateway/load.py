"""An open-loop stream of REST and gRPC requests: sent when their time has come, whatever became of those before."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
import grpc

from tests.gateway.harness import PREDICTION, wait
from tests.gateway.wire import request

LIMIT = 20.0


@dataclass
class Load:
    """What became of the requests so far."""

    sent: int = 0
    done: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def more(self, count: int) -> None:
        """Waits until this many further requests are answered."""
        goal = self.done + count
        wait(f"{count} more answers", lambda: self.done >= goal, limit=60)


@contextmanager
def load(rest_port: int, grpc_port: int, rate: float = 80, model: str = "m") -> Iterator[Load]:
    """``rate`` requests a second of each protocol for the time of the block; waits for the last answers."""
    result, stop = Load(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_run(rest_port, grpc_port, rate, model, result, stop)))
    thread.start()
    try:
        wait("the first answer", lambda: result.done)
        yield result
    finally:
        stop.set()
        thread.join()


async def _run(rest_port: int, grpc_port: int, rate: float, model: str, result: Load, stop: threading.Event) -> None:
    body = request(model, padding=500)
    url = f"http://127.0.0.1:{rest_port}/v1/models/{model}:predict"
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]

    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as session,
        grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=options) as channel,
    ):
        predict = channel.unary_unary(PREDICTION + "Predict")

        async def over_rest() -> None:
            async with session.post(url, data=b"{}") as response:
                answer = await response.read()
                if response.status != 200:
                    raise AssertionError(f"{response.status} {answer!r}")
                if "/versions/" not in json.loads(answer)["path"]:
                    raise AssertionError(f"without a version: {answer!r}")

        async def over_grpc() -> None:
            answer = json.loads(await predict(body, timeout=LIMIT))
            if answer["version"] is None:
                raise AssertionError(f"without a version: {answer}")

        async def one(kind: str) -> None:
            result.sent += 1
            start = time.monotonic()
            try:
                await (over_rest() if kind == "rest" else over_grpc())
            except Exception as error:  # every kind of failure counts, and is shown by the test
                result.failures.append(f"{kind}: {type(error).__name__}: {error}")
            result.slowest = max(result.slowest, time.monotonic() - start)
            result.done += 1

        tasks: set[asyncio.Task[None]] = set()
        begin, count = time.monotonic(), 0
        while not stop.is_set():
            await asyncio.sleep(max(0.0, begin + count / rate - time.monotonic()))
            for kind in ("rest", "grpc"):
                task = asyncio.create_task(one(kind))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            count += 1
        await asyncio.gather(*tasks)

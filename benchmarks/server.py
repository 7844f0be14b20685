"""What the embedded server makes of a model, beside the bare TensorFlow call and a plain wrapper of one file.

All run the same half_plus_two in the same run, with three floats or with a JSON body of 600 KB; the wrapper is what one
writes in ten minutes: aiohttp around the model's signature. It takes about two minutes: `python -m benchmarks.server`.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figure import Figure, table
from benchmarks.wire import Connection, Grpc, Rest, at_once, one_by_one, rest_request
from tests.models import write_half_plus_two
from tests.server.live import Live, free_ports, wait

REST_PATH = "/v1/models/default:predict"
GRPC_PATH = "/tensorflow.serving.PredictionService/Predict"
ROUNDS = 2
SECONDS = 3.0
REQUESTS = 300
IN_FLIGHT = (8, 32)
SMALL, LARGE = 3, 30_000
"""Floats of a request; the large one has 600 KB, as JSON."""

WRAPPER = """
import sys
import tensorflow as tf
from aiohttp import web
predict = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
async def answer(request):
    body = await request.json()
    found = predict(x=tf.constant(body["instances"], tf.float32))
    return web.json_response({"predictions": found["y"].numpy().tolist()})
application = web.Application(client_max_size=2**30)
application.router.add_post("/v1/models/default:predict", answer)
web.run_app(application, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None)
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to ask: medians over the rounds."""

    name: str
    floats: int
    p50_ms: float
    p99_ms: float
    per_second: tuple[float, ...]

    def __str__(self) -> str:
        rates = "".join(f"{rate:>10,.0f}" for rate in self.per_second)
        return f"{self.name:<28}{self.floats:>9,}{self.p50_ms:>10.3f}{self.p99_ms:>10.3f}{rates}"


def figures() -> list[Figure]:
    """Measure, print what was measured, and judge the ratios."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        write_half_plus_two(folder / "model" / "1")
        with Live(folder / "log", f"--model_base_path={folder / 'model'}") as server, _wrapper(folder) as wrapper:
            server.serves("default", 1)
            wait("the wrapper", lambda: _listens(wrapper))
            call = _bare(folder / "model" / "1")
            found = [one for floats in (SMALL, LARGE) for one in _measure(server, wrapper, call, floats)]
            memory = psutil.Process(server.process.pid).memory_info().rss
        imported = _imported()
    heads = "".join(f"{f'{count}/s':>10}" for count in (1, *IN_FLIGHT))
    print(f"N/s: answers a second with N in flight\n{'':<28}{'floats':>9}{'p50 ms':>10}{'p99 ms':>10}{heads}")
    for one in found:
        print(one)
    bare, plain, rest, grpc = found[:4]
    ratio = rest.per_second[-1] / plain.per_second[-1]
    added = grpc.p50_ms - bare.p50_ms
    return [
        Figure("REST, 32 in flight, beside the wrapper", ">= 2.5 x", f"{ratio:.2f} x", ratio >= 2.5),
        Figure("REST, p50 with one in flight", "<= 0.3 ms", f"{rest.p50_ms:.3f} ms", rest.p50_ms <= 0.3),
        Figure("gRPC, p50 above the bare call", "<= 0.2 ms", f"{added:.3f} ms", added <= 0.2),
        Figure(
            "memory beside importing TensorFlow", "<= 1.3 x", f"{memory / imported:.2f} x", memory <= 1.3 * imported
        ),
    ]


def _measure(server: Live, wrapper: int, call: Callable[[Any], Any], floats: int) -> list[Measured]:
    import numpy as np

    values = np.linspace(0, 1, floats, dtype=np.float32)
    body = json.dumps({"instances": values.tolist()}).encode()
    asked = rest_request(REST_PATH, body)
    ways: dict[str, Callable[[], Connection]] = {
        "one-file aiohttp wrapper": lambda: Rest(wrapper, asked),
        "REST": lambda: Rest(server.rest_port, asked),
    }
    if floats == SMALL:
        # The client sends a message in one frame, which is as much as HTTP/2 lets it: 16 KiB.
        message = _message(values)
        ways["gRPC"] = lambda: Grpc(server.grpc_port, GRPC_PATH, message)
    requests = REQUESTS if floats == SMALL else REQUESTS // 10
    return [_directly(call, values, requests), *(_over(name, make, floats, requests) for name, make in ways.items())]


def _directly(call: Callable[[Any], Any], values: Any, requests: int) -> Measured:
    for _ in range(requests):
        call(values)
    took = []
    for _ in range(requests * ROUNDS):
        begun = time.perf_counter()
        call(values)
        took.append(time.perf_counter() - begun)
    rate = len(took) / sum(took)
    return Measured("bare TensorFlow call", len(values), *_percentiles(took), (rate,) * 3)


def _over(name: str, make: Callable[[], Connection], floats: int, requests: int) -> Measured:
    connection = make()
    one_by_one(connection, requests // 2)
    took = [second for _ in range(ROUNDS) for second in one_by_one(connection, requests).seconds]
    rates = [
        statistics.median(
            # Streams of one connection over gRPC, connections over REST: what clients do.
            at_once(make, *((1, count) if name == "gRPC" else (count, 1)), SECONDS)
            for _ in range(ROUNDS)
        )
        for count in IN_FLIGHT
    ]
    return Measured(name, floats, *_percentiles(took), (len(took) / sum(took), *rates))


def _percentiles(took: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(took)
    return statistics.median(ordered) * 1000, ordered[int(len(ordered) * 0.99)] * 1000


def _bare(path: Path) -> Callable[[Any], Any]:
    """The call that the server prepares for itself, and nothing around it."""
    from tfsdeploy.server import session_config
    from tfsdeploy.server.flags import Flags
    from tfsdeploy.server.servable import SavedModel

    flags = Flags(tensorflow_session_parallelism=1)
    return SavedModel(str(path), config=session_config.of(flags)).call("serving_default").run


def _message(values: Any) -> bytes:
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.tensor_content = values.tobytes()
    return bytes(request.SerializeToString())


@contextmanager
def _wrapper(folder: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    argv = [sys.executable, "-c", WRAPPER, str(folder / "model" / "1"), str(port)]
    with (folder / "wrapper.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _imported() -> int:
    """Bytes that a process has which imported TensorFlow and did nothing else."""
    code = "import tensorflow, psutil; print(psutil.Process().memory_info().rss)"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    print(table(figures()))

"""What the embedded server makes of a model, beside the bare TensorFlow call and a plain wrapper of one file.

All run the same half_plus_two in the same run, with three floats or with a body of 600 KB. What serves has one
core to itself, and what asks has another. The wrapper is what one writes in ten minutes: FastAPI around the model's
signature. With a real `tensorflow_model_server` on the PATH that is measured, too. About four minutes:
`python -m benchmarks.server`.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figure import Figure, machine, table
from benchmarks.wire import Connection, Grpc, Rest, at_once, one_by_one, paced, rest_request
from tests.models import write_half_plus_two
from tests.ports import free_ports
from tests.server.live import Live, wait

REST_PATH = "/v1/models/default:predict"
GRPC_PATH = "/tensorflow.serving.PredictionService/Predict"
ROUNDS = 3
SECONDS = 1.5
REQUESTS = 400
IN_FLIGHT = (8, 32)
SMALL, LARGE, LARGE_MESSAGE = 3, 30_000, 150_000
"""Floats of a request; the large ones have 600 KB, as JSON and as a message."""
LOADS = 12
CORES = len(os.sched_getaffinity(0))

WRAPPER = """
import sys
import tensorflow as tf
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
predict = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
application = FastAPI()
class Body(BaseModel):
    instances: list[float]
@application.post("/v1/models/default:predict")
async def answer(body: Body):
    return {"predictions": predict(x=tf.constant(body.instances, tf.float32))["y"].numpy().tolist()}
uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that serves the model: its process and its ports; None for what it does not have."""

    name: str
    process: psutil.Process
    rest: int
    grpc: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to ask: medians over the rounds; the best rate of them.

    Attributes:
        name: of the way.
        floats: of a request.
        p50_ms: with one in flight.
        p99_ms: with one in flight.
        per_second: with 1, 8 and 32 in flight.
        cpu_us: processor time of the server for a request, with 32 in flight.
    """

    name: str
    floats: int
    p50_ms: float
    p99_ms: float
    per_second: tuple[float, ...]
    cpu_us: float

    def __str__(self) -> str:
        rates = "".join(f"{rate:>10,.0f}" for rate in self.per_second)
        return f"{self.name:<34}{self.floats:>9,}{self.p50_ms:>10.3f}{self.p99_ms:>10.3f}{rates}{self.cpu_us:>10.0f}"


def figures() -> list[Figure]:
    """Measure, print what was measured, and judge the ratios."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        write_half_plus_two(folder / "model" / "1")
        with ExitStack() as stack:
            with _core(0):
                server, peers = _started(folder, stack)
            with _core(1):
                call = _bare(folder / "model" / "1")
                _tell_heads()
                ways = [_told(one) for one in _measure(peers, call, SMALL, SMALL)]
                memory = peers[0].process.memory_info().rss
                ways += (_told(one) for one in _measure(peers, call, LARGE, LARGE_MESSAGE))
                rate = next(one.per_second[-1] for one in ways if one.name == "REST")
                calm, loading = _while_loading(server, folder, rate / 2)
        with _core(0):
            shares = _shares(folder / "model" / "1")
            imported, import_seconds = _imported()
            first = _first_answer(folder)
    _tell_shares(ways, shares)
    return _judged(ways, memory / imported, loading / calm, first - import_seconds)


def _tell_heads() -> None:
    cores = "one core each for server and client" if CORES > 1 else "one core for all"
    heads = "".join(f"{f'{count}/s':>10}" for count in (1, *IN_FLIGHT))
    print(f"{machine()}; {cores}\nN/s: answers a second with N in flight; µs: of the server's processor, at 32")
    print(f"{'':<34}{'floats':>9}{'p50 ms':>10}{'p99 ms':>10}{heads}{'µs':>10}", flush=True)


def _told(one: Measured) -> Measured:
    """As they come: the whole takes long."""
    print(one, flush=True)
    return one


def _tell_shares(ways: Sequence[Measured], shares: dict[str, float]) -> None:
    print("\nWhere the time of a small request goes, µs of processor time:")
    by_name = {one.name: one for one in ways if one.floats == SMALL}
    for name in ("REST", "gRPC"):
        whole, handled, run = by_name[name].cpu_us, shares[name], shares["run"]
        print(
            f"  {name:<5} {whole:5.0f}: the model {run:.0f}, its message read and written {handled - run:.0f}, "
            f"the protocol and the operating system {whole - handled:.0f}",
            flush=True,
        )


def _judged(ways: Sequence[Measured], memory: float, load: float, start: float) -> list[Figure]:
    small = {one.name: one for one in ways if one.floats == SMALL}
    large = {one.name: one for one in ways if one.floats == LARGE}
    rest, grpc, wrapper, bare = (small[name] for name in ("REST", "gRPC", "one-file FastAPI", "bare TensorFlow call"))
    ratio, added = rest.per_second[-1] / wrapper.per_second[-1], grpc.p50_ms - bare.p50_ms
    bodies = large["one-file FastAPI"].p50_ms / large["REST"].p50_ms
    found = [
        Figure("REST, 32 in flight, beside FastAPI", ">= 2.5 x", f"{ratio:.2f} x", ratio >= 2.5),
        Figure("REST, bodies of 600 KB one by one, beside FastAPI", ">= 1 x", f"{bodies:.2f} x", bodies >= 1),
        Figure("REST, p50 with one in flight", "<= 0.3 ms", f"{rest.p50_ms:.3f} ms", rest.p50_ms <= 0.3),
        Figure("gRPC, p50 above the bare call", "<= 0.2 ms", f"{added:.3f} ms", added <= 0.2),
        Figure("memory beside importing TensorFlow", "<= 1.3 x", f"{memory:.2f} x", memory <= 1.3),
        Figure("p99 at half the rate while versions load", "<= 3 x", f"{load:.2f} x", load <= 3),
        Figure("start to first answer beyond the import", "<= 0.3 s", f"{start:.2f} s", start <= 0.3),
    ]
    for name in ("REST", "gRPC"):
        original = small.get(f"original {name}")
        if original is not None:
            share = small[name].per_second[-1] / original.per_second[-1]
            found.append(Figure(f"{name}, 32 in flight, of the original's", ">= 0.5", f"{share:.2f}", share >= 0.5))
    return found


def _started(folder: Path, stack: ExitStack) -> tuple[Live, list[Peer]]:
    server = stack.enter_context(Live(folder / "log", f"--model_base_path={folder / 'model'}"))
    server.serves("default", 1)
    (port,) = free_ports(1)
    argv = [sys.executable, "-c", WRAPPER, str(folder / "model" / "1"), str(port)]
    peers = [
        Peer("", psutil.Process(server.process.pid), server.rest_port, server.grpc_port),
        Peer("one-file FastAPI", stack.enter_context(_process(argv, folder / "wrapper.log")), port, None),
    ]
    original = shutil.which("tensorflow_model_server")
    if original is not None:
        rest, grpc = free_ports(2)
        flags = [f"--port={grpc}", f"--rest_api_port={rest}", f"--model_base_path={folder / 'model'}"]
        argv = [original, *flags, "--grpc_max_threads=128"]
        peers.append(Peer("original", stack.enter_context(_process(argv, folder / "original.log")), rest, grpc))
    body = json.dumps({"instances": [1.0]}).encode()
    for peer in peers:
        wait(f"{peer.name} answers", lambda port=peer.rest: _answers(port, body))  # type: ignore[misc]
    return server, peers


def _measure(peers: Sequence[Peer], call: Callable[[Any], Any], by_rest: int, by_grpc: int) -> Iterator[Measured]:
    """All ways to ask, with so many floats over each protocol."""
    import numpy as np

    values = {floats: np.linspace(0, 1, floats, dtype=np.float32) for floats in (by_rest, by_grpc)}
    body, message = json.dumps({"instances": values[by_rest].tolist()}).encode(), _message(values[by_grpc])
    requests = REQUESTS if by_rest == SMALL else REQUESTS // 10
    for one in values.values():
        yield _directly(call, one, requests)
    for peer in peers:
        asked = rest_request(REST_PATH, body)
        name = f"{peer.name} REST".strip() if peer.grpc is not None else peer.name
        yield _over(name, peer, lambda port=peer.rest, asked=asked: Rest(port, asked), by_rest, requests)  # type: ignore[misc]
        if peer.grpc is not None:
            name = f"{peer.name} gRPC".strip()
            make = lambda port=peer.grpc: Grpc(port, GRPC_PATH, message)  # noqa: E731
            yield _over(name, peer, make, by_grpc, requests)
    yield from (
        _ordinary("REST, by http.client", by_rest, _http_client(peers[0].rest, body), requests),
        _ordinary("gRPC, by grpcio", by_grpc, _grpcio(peers[0].grpc, message), requests),
    )


def _directly(call: Callable[[Any], Any], values: Any, requests: int) -> Measured:
    one = _ordinary("bare TensorFlow call", len(values), lambda: call(values), requests)
    begun = time.process_time()
    for _ in range(requests):
        call(values)
    cpu_us = (time.process_time() - begun) / requests * 1e6
    return Measured(one.name, one.floats, one.p50_ms, one.p99_ms, one.per_second[:1] * 3, cpu_us)


def _ordinary(name: str, floats: int, ask: Callable[[], Any], requests: int) -> Measured:
    """One after the other, by a client that people use."""
    took = []
    for at in range(requests * ROUNDS + requests // 2):
        begun = time.perf_counter()
        ask()
        if at >= requests // 2:
            took.append(time.perf_counter() - begun)
    return Measured(name, floats, *_percentiles(took), (len(took) / sum(took), 0.0, 0.0), 0.0)


def _over(name: str, peer: Peer, make: Callable[[], Connection], floats: int, requests: int) -> Measured:
    connection = make()
    one_by_one(connection, requests // 2)
    took = [second for _ in range(ROUNDS) for second in one_by_one(connection, requests).seconds]
    connection.socket.close()
    rates, cpu_us = [], 0.0
    seconds = SECONDS if floats == SMALL else 3 * SECONDS
    for count in IN_FLIGHT:
        # Streams of one connection over gRPC, connections over REST: what clients do. But large requests have each a
        # connection: this client sends the whole of one before it reads on, and a server may wait for that.
        shape = (1, count) if isinstance(connection, Grpc) and floats == SMALL else (count, 1)
        found = []
        for _ in range(ROUNDS):
            before = sum(peer.process.cpu_times()[:2])
            rate = at_once(make, *shape, seconds)
            # On a machine that is busy with other things none may come.
            answers = max(1.0, rate * seconds)
            found.append((rate, (sum(peer.process.cpu_times()[:2]) - before) / answers * 1e6))
        rates.append(max(rate for rate, _ in found))
        cpu_us = min(cpu for _, cpu in found)
    return Measured(name, floats, *_percentiles(took), (len(took) / sum(took), *rates), cpu_us)


def _percentiles(took: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(took)
    return statistics.median(ordered) * 1000, ordered[int(len(ordered) * 0.99)] * 1000


def _while_loading(server: Live, folder: Path, rate: float) -> tuple[float, float]:
    """The 99th percentile without and with loads, in milliseconds: medians of some seconds each."""
    asked = rest_request(REST_PATH, json.dumps({"instances": [1.0, 2.0, 5.0]}).encode())
    for version in range(2, LOADS + 2):
        write_half_plus_two(folder / "more" / str(version), offset=version)

    def p99(seconds: float) -> float:
        return paced(lambda: Rest(server.rest_port, asked), 32, rate, seconds).percentile(0.99)

    calm, loading = [], []
    for version in range(2, LOADS + 2):
        calm.append(p99(1.0))
        comes = threading.Timer(0.1, (folder / "more" / str(version)).rename, [folder / "model" / str(version)])
        comes.start()
        loading.append(p99(1.0))
        comes.join()
        server.serves("default", version)
    return statistics.median(calm), statistics.median(loading)


def _shares(path: Path) -> dict[str, float]:
    """Processor time, in microseconds, of parts of the server, each called in this process and by itself."""
    import numpy as np

    from tfsdeploy.server.core import Core
    from tfsdeploy.server.grpc_predict import Predict
    from tfsdeploy.server.manager import Manager
    from tfsdeploy.server.metrics import Metrics
    from tfsdeploy.server.rest import Rest as Answers
    from tfsdeploy.server.saved_model import SavedModel

    manager = Manager(lambda text: SavedModel(text), threads=1)
    manager.aspire({"default": {1: str(path)}})
    manager.wait(lambda: any(row.state == "AVAILABLE" for row in manager.status("default")))
    core, values = Core(manager), np.array([1.0, 2.0, 5.0], np.float32)
    body, message = json.dumps({"instances": values.tolist()}).encode(), _message(values)
    answers, predict = Answers(core, Metrics()), Predict(core, Metrics(), packed=False)
    with manager.handle("default", None) as (_, model):
        call = model.call("serving_default")
        found = {
            "run": _cpu_us(lambda: model.run(call, {"x": values})),
            "REST": _cpu_us(lambda: answers.handle("POST", REST_PATH, {}, body)),
            "gRPC": _cpu_us(lambda: predict.answer(message, True)),
        }
    manager.close()
    return found


def _cpu_us(work: Callable[[], Any], calls: int = 500) -> float:
    best = float("inf")
    for _ in range(9):
        begun = time.thread_time()
        for _ in range(calls):
            work()
        best = min(best, (time.thread_time() - begun) / calls * 1e6)
    return best


def _bare(path: Path) -> Callable[[Any], Any]:
    """A prepared call of a session as it is by default, and nothing around it."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    with session.graph.as_default():
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
    signature = meta.signature_def["serving_default"]
    run = session.make_callable(signature.outputs["y"].name, [signature.inputs["x"].name])
    return lambda values: run(values)


def _message(values: Any) -> bytes:
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.tensor_content = values.tobytes()
    return bytes(request.SerializeToString())


def _http_client(port: int, body: bytes) -> Callable[[], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask() -> bytes:
        connection.request("POST", REST_PATH, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()

    return ask


def _grpcio(port: int | None, message: bytes) -> Callable[[], Any]:
    import grpc

    ask = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(GRPC_PATH)
    return lambda: ask(message, timeout=60)


def _answers(port: int, body: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", REST_PATH, body, {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def _process(argv: Sequence[str], log: Path) -> Iterator[psutil.Process]:
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


@contextmanager
def _core(index: int) -> Iterator[None]:
    """Run on one core, and so does what is started meanwhile; on all of them where there is but one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[index % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _imported() -> tuple[int, float]:
    """Bytes of a process that imported TensorFlow and did nothing else, and seconds from its start; best of 3."""
    code = "import tensorflow, psutil; print(psutil.Process().memory_info().rss)"
    seconds, size = [], 0
    for _ in range(3):
        begun = time.perf_counter()
        size = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        seconds.append(time.perf_counter() - begun)
    return size, min(seconds)


def _first_answer(folder: Path) -> float:
    """Seconds from the start of a server to its first answer; best of 3."""
    body, found = json.dumps({"instances": [1.0]}).encode(), []
    for _ in range(3):
        begun = time.perf_counter()
        with Live(folder / "log", f"--model_base_path={folder / 'model'}") as server:
            while not _answers(server.rest_port, body):
                time.sleep(0.01)
            found.append(time.perf_counter() - begun)
    return min(found)


if __name__ == "__main__":
    print(table(figures()))

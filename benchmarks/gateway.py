"""What the gateway costs over plain Envoy routing, and how fast a large fleet's change of weights takes effect.

Plain routing is a second pair of listeners in the same Envoy, with the same options and access log but without the
filters that choose a version; back ends are another Envoy, which answers at once. It takes about a minute:
`python -m benchmarks.gateway`.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, table
from benchmarks.wire import Connection, Grpc, Rest, at_once, one_by_one, rest_request
from tests.gateway.harness import PREDICTION, Gateway, gateway, wait
from tests.gateway.wire import request
from tests.ports import free_ports
from tfsdeploy.gateway.files import clusters_file, routes_files
from tfsdeploy.gateway.shape import LISTENERS, GatewayShape, envoy_command, shape_files
from tfsdeploy.gateway.table import Endpoint, ModelTable, Table

BODY_BYTES = 1000
ROUNDS = 8
REQUESTS = 250
SECONDS = 1.5
IN_FLIGHT = 32
CHANGES = 15
MODELS = (250, 500, 1000)
LINEAR = 1.3
"""What linear growth may have beyond it, for noise."""
_TYPE = "type.googleapis.com/envoy."


@dataclass(frozen=True, slots=True)
class Cost:
    """One protocol: what plain routing and the full gateway cost."""

    protocol: str
    p50_ms: tuple[float, float]
    p99_ms: tuple[float, float]
    per_second: tuple[float, float]
    cpu_microseconds: tuple[float, float]

    @property
    def added_ms(self) -> float:
        """Median latency that choosing a version adds."""
        return self.p50_ms[1] - self.p50_ms[0]

    @property
    def throughput(self) -> float:
        """The full gateway's share of plain routing's requests a second."""
        return self.per_second[1] / self.per_second[0]

    @property
    def throughput_per_core(self) -> float:
        """The same by Envoy's own processor time, which clients and back ends on the same cores do not blur."""
        return self.cpu_microseconds[0] / self.cpu_microseconds[1]


def costs() -> list[Cost]:
    """Both protocols, measured in turns within one run."""
    with tempfile.TemporaryDirectory() as folder, _back_end(Path(folder) / "back") as (rest_port, grpc_port):
        replica = Endpoint("back", f"127.0.0.1:{rest_port}", f"127.0.0.1:{grpc_port}")
        table = Table({"m": ModelTable({7: 50, 8: 50}, {}, {7: (replica,), 8: (replica,)})})
        ports = free_ports(4)
        shape = GatewayShape(rest_port=ports[0], grpc_port=ports[1])
        listeners = _with_plain(shape_files(shape)[LISTENERS], ports[2], ports[3])
        with gateway(Path(folder) / "gateway", table, shape, {LISTENERS: listeners}) as running:
            http = rest_request("/v1/models/m:predict", b"x" * BODY_BYTES)
            message = request("m", padding=BODY_BYTES)
            return [
                _cost("REST", running, (lambda: Rest(ports[2], http), lambda: Rest(ports[0], http)), (IN_FLIGHT, 1)),
                _cost(
                    "gRPC",
                    running,
                    (
                        lambda: Grpc(ports[3], PREDICTION + "Predict", message),
                        lambda: Grpc(ports[1], PREDICTION + "Predict", message),
                    ),
                    (1, IN_FLIGHT),
                ),
            ]


def _cost(
    protocol: str,
    running: Gateway,
    makers: tuple[Callable[[], Connection], Callable[[], Connection]],
    load: tuple[int, int],
) -> Cost:
    connections = [make() for make in makers]
    for connection in connections:
        one_by_one(connection, 200)
    latencies = [one_by_one(connections[0], 1), one_by_one(connections[1], 1)]
    rates: tuple[list[float], list[float]] = ([], [])
    cpus: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for kind in (0, 1):
            latencies[kind].seconds += one_by_one(connections[kind], REQUESTS).seconds
            if number % 2:
                before = _cpu_seconds(running.process.pid)
                rate = at_once(makers[kind], *load, SECONDS)
                rates[kind].append(rate)
                cpus[kind].append((_cpu_seconds(running.process.pid) - before) / (rate * SECONDS) * 1e6)
    return Cost(
        protocol,
        p50_ms=(latencies[0].percentile(0.5), latencies[1].percentile(0.5)),
        p99_ms=(latencies[0].percentile(0.99), latencies[1].percentile(0.99)),
        per_second=(statistics.median(rates[0]), statistics.median(rates[1])),
        cpu_microseconds=(statistics.median(cpus[0]), statistics.median(cpus[1])),
    )


@dataclass(frozen=True, slots=True)
class Size:
    """A large fleet's gateway."""

    models: int
    start_seconds: float
    clusters_mb: float
    routes_mb: float
    weight_ms: list[float]
    memory_mb: float


def size(models: int = 1000, replicas: int = 10) -> Size:
    """From a changed split in memory to Envoy's acknowledgement of both protocols' routes."""
    endpoints = tuple(Endpoint(f"r{n}", f"127.0.0.1:{20000 + n}", f"127.0.0.1:{21000 + n}") for n in range(replicas))

    def table(weight: int) -> Table:
        split = {1: 100 - weight, 2: weight}
        made = {f"model_{n}": ModelTable({1: 100}, {}, {1: endpoints, 2: endpoints}) for n in range(models)}
        return Table({**made, "model_7": ModelTable(split, {}, {1: endpoints, 2: endpoints})})

    rest_port, grpc_port = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with gateway(Path(folder), table(1), GatewayShape(rest_port=rest_port, grpc_port=grpc_port)) as running:
            started = time.perf_counter() - begin
            changes = []
            for weight in range(2, 2 + CHANGES):
                changed = table(weight)
                begin = time.perf_counter()
                running.put(*routes_files(changed, running.shape))
                changes.append((time.perf_counter() - begin) * 1000)
            return Size(
                models=models,
                start_seconds=started,
                clusters_mb=len(clusters_file(changed, running.shape).text) / 1e6,
                routes_mb=sum(len(file.text) for file in routes_files(changed, running.shape)) / 1e6,
                weight_ms=changes,
                memory_mb=_memory_mb(running.process.pid),
            )


def figures() -> list[Figure]:
    """Both protocols' costs and the growth with the number of models, beside what they should reach."""
    return [figure for cost in costs() for figure in _judged(cost)] + _growth([size(count) for count in MODELS])


def _judged(cost: Cost) -> list[Figure]:
    (plain_ms, full_ms), (plain, full) = cost.p50_ms, cost.per_second
    return [
        Figure(
            f"{cost.protocol}: p50 that choosing a version adds to plain Envoy routing",
            "+0.15 ms",
            f"+{cost.added_ms:.3f} ms ({plain_ms:.3f} -> {full_ms:.3f})",
            cost.added_ms <= 0.15,
        ),
        Figure(
            f"{cost.protocol}: share of plain Envoy routing's throughput",
            "0.5",
            f"{cost.throughput:.2f} ({plain:.0f} -> {full:.0f}/s; per core {cost.throughput_per_core:.2f})",
            cost.throughput >= 0.5,
        ),
    ]


def _growth(sizes: list[Size]) -> list[Figure]:
    """The largest fleet's slowest change, and how the time grows from the smallest fleet to it.

    Growth is told by the fastest change of each: what the machine does beside only ever adds.
    """
    smallest, *_, largest = sizes
    fastest = [min(one.weight_ms) for one in sizes]
    worst, middle = max(largest.weight_ms) / 1000, statistics.median(largest.weight_ms) / 1000
    ratio, factor = fastest[-1] / fastest[0], largest.models / smallest.models
    return [
        Figure(
            f"one weight change effective, {largest.models:,} models x 2 versions x 10 replicas",
            "1 s",
            f"{worst:.3f} s (p50 {middle:.3f}; start {largest.start_seconds:.1f} s)",
            worst <= 1,
        ),
        Figure(
            f"the fastest change of {', '.join(str(one.models) for one in sizes)} models",
            f"x{factor * LINEAR:.1f} at most",
            f"{', '.join(f'{one:.0f}' for one in fastest)} ms: x{ratio:.1f}",
            ratio <= factor * LINEAR,
        ),
    ]


def _with_plain(listeners: str, rest_port: int, grpc_port: int) -> str:
    document = json.loads(listeners)
    for listener, port in zip(copy.deepcopy(document["resources"]), (rest_port, grpc_port), strict=True):
        protocol = listener["name"]
        listener["name"] = f"plain-{protocol}"
        listener["address"]["socket_address"]["port_value"] = port
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"] = manager["http_filters"][-1:]
        del manager["rds"]
        route = {"match": {"prefix": "/"}, "route": {"cluster": f"m/any/{protocol}"}}
        manager["route_config"] = {"virtual_hosts": [{"name": "plain", "domains": ["*"], "routes": [route]}]}
        document["resources"].append(listener)
    return json.dumps(document)


@contextmanager
def _back_end(folder: Path) -> Iterator[tuple[int, int]]:
    """An Envoy that answers everything with 200 and a few bytes, over REST and gRPC."""
    folder.mkdir()
    ports = free_ports(2)
    listeners = [_answering("rest", ports[0], '{"predictions": [1]}'), _answering("grpc", ports[1], "\0\0\0\0\0")]
    bootstrap = {"admin": {"address": {"pipe": {"path": "back.sock"}}}, "static_resources": {"listeners": listeners}}
    (folder / "bootstrap.json").write_text(json.dumps(bootstrap))
    process = subprocess.Popen(
        envoy_command(GatewayShape()), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait("the back end listens", lambda: Rest(ports[0], b""))
        yield ports[0], ports[1]
    finally:
        process.kill()
        process.wait()


def _answering(protocol: str, port: int, body: str) -> dict[str, Any]:
    route: dict[str, Any] = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
    }
    if protocol == "grpc":
        route["response_headers_to_add"] = [
            {"header": {"key": "grpc-status", "value": "0"}},
            {
                "header": {"key": "content-type", "value": "application/grpc"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            },
        ]
    filters = [
        _filter("buffer", "buffer.v3.Buffer", max_request_bytes=1 << 20),
        _filter("router", "router.v3.Router"),
    ]
    manager = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": protocol,
        "codec_type": "HTTP2" if protocol == "grpc" else "HTTP1",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }
    return {
        "name": protocol,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _filter(name: str, kind: str, **options: Any) -> dict[str, Any]:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{_TYPE}extensions.filters.http.{kind}", **options},
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    print(table(figures()))

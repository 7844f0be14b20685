"""Nothing is lost: replicas that die, hang or leave, a table that changes, a gateway that is replaced."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gateway.harness import PREDICTION, Stub, call, gateway, stub, wait
from tests.gateway.load import LIMIT, load
from tests.gateway.wire import request
from tests.ports import free_ports
from tfsdeploy.gateway.admin import DRAIN, DRAINING, drained
from tfsdeploy.gateway.shape import GatewayShape
from tfsdeploy.gateway.table import Endpoint, ModelTable, Table


@pytest.fixture
def three() -> Iterator[tuple[Stub, ...]]:
    """Three back ends for one test."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(stub(name)) for name in ("a", "b", "c"))


def table(*replicas: Stub, traffic: dict[int, int] | None = None) -> Table:
    """Model m with versions 7 and 8 on these replicas."""
    endpoints = tuple(one.endpoint for one in replicas)
    return Table({"m": ModelTable(traffic or {7: 90, 8: 10}, {}, {7: endpoints, 8: endpoints})})


def test_a_replica_is_killed(three: tuple[Stub, ...], tmp_path: Path) -> None:
    with (
        gateway(tmp_path, table(*three)) as running,
        load(running.shape.rest_port, running.shape.grpc_port) as stream,
    ):
        stream.more(100)
        three[0].process.send_signal(signal.SIGKILL)
        stream.more(300)
    assert stream.failures == []


def test_a_replica_hangs(three: tuple[Stub, ...], tmp_path: Path) -> None:
    with (
        gateway(tmp_path, table(*three)) as running,
        load(running.shape.rest_port, running.shape.grpc_port) as stream,
    ):
        stream.more(100)
        three[0].process.send_signal(signal.SIGSTOP)
        ejected = "/stats?filter=m/7/(rest|grpc).outlier_detection.ejections_active"
        wait("it is left out", lambda: running.admin(ejected).count("active: 1") == 2)
        stream.more(100)
    assert stream.failures == []
    assert stream.slowest < LIMIT


def test_nothing_is_asked_twice_for_being_slow_unless_wanted(three: tuple[Stub, ...], tmp_path: Path) -> None:
    """``perTryTimeoutSeconds: 0``: Envoy takes the configuration, and losses are still made good."""
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port, hedge_seconds=0)
    with gateway(tmp_path, table(*three), shape) as running, load(rest_port, grpc_port) as stream:
        stream.more(50)
        three[0].process.send_signal(signal.SIGKILL)
        stream.more(100)
        assert "per_try_timeout" not in (running.folder / "rds-rest.json").read_text()
    assert stream.failures == []


def test_the_table_changes(three: tuple[Stub, ...], tmp_path: Path) -> None:
    a, b, c = three
    states = [
        table(a, b, c, traffic={7: 100}),
        table(a, b, traffic={8: 100}),
        table(c, traffic={7: 50, 8: 50}),
        Table({"m": ModelTable({9: 100}, {}, {9: (a.endpoint, c.endpoint)})}),
        Table({"m": ModelTable({9: 100}, {}, {9: (b.endpoint,), 8: ()})}),
    ]
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port, concurrency=2)
    with gateway(tmp_path, table(*three), shape) as running, load(rest_port, grpc_port) as stream:
        for _ in range(3):
            for state in states:
                running.apply(state)
                stream.more(10)
    assert stream.failures == []


def test_a_gateway_is_replaced(three: tuple[Stub, ...], tmp_path: Path) -> None:
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port)
    with (
        gateway(tmp_path / "old", table(*three), shape) as old,
        load(rest_port, grpc_port) as stream,
        gateway(tmp_path / "new", table(*three), shape) as new,
    ):
        stream.more(100)
        for path in DRAIN:
            old.admin(path, "POST")
        wait("the old gateway is drained", lambda: drained(old.admin(DRAINING)))
        # Of a connection that nobody asks on a client hears nothing before it ends: each is used once more, and closed.
        connected = "/stats?filter=^http.(rest|grpc).downstream_cx_active$"
        wait("nobody is connected", lambda: old.admin(connected).count("active: 0") == 2)
        old.process.terminate()
        assert old.process.wait(timeout=60) == 0
        stream.more(100)
        assert new.rest("GET", "/readyz")[0] == 200
        assert stream.failures == []


def test_readiness_ends_with_the_drain_and_health_too(three: tuple[Stub, ...], tmp_path: Path) -> None:
    with gateway(tmp_path, table(*three)) as running:
        running.admin("/healthcheck/fail", "POST")
        assert running.rest("GET", "/readyz")[0] == 503
        assert running.rpc("/grpc.health.v1.Health/Check", b"")[0] == "UNAVAILABLE"
        assert running.rpc(PREDICTION + "Predict", request("m"))[0] == "OK"


def test_slow_inference_is_not_cut(three: tuple[Stub, ...], tmp_path: Path) -> None:
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port, hedge_seconds=0.2)
    with gateway(tmp_path, table(*three), shape) as running:
        assert running.rest("POST", "/v1/models/m:predict", b"{}", {"x-sleep": "1.5"})[0] == 200
        assert running.rpc(PREDICTION + "Predict", request("m"), x_sleep="1.5")[0] == "OK"


def test_a_request_has_an_end(three: tuple[Stub, ...], tmp_path: Path) -> None:
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port, timeout_seconds=0.5)
    with gateway(tmp_path, table(*three), shape) as running:
        assert running.rest("POST", "/v1/models/m:predict", b"{}", {"x-sleep": "9"})[0] == 504
        start = time.monotonic()
        code, _ = running.rpc(PREDICTION + "Predict", request("m"), timeout=8, x_sleep="9")
        assert code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - start < 8, "the gateway ended it, not the client"


def test_sick_replicas_are_ejected_and_model_errors_are_not_sickness(three: tuple[Stub, ...], tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    dead = Endpoint("dead", f"127.0.0.1:{closed}", f"127.0.0.1:{closed}")
    healthy = tuple(one.endpoint for one in three[:2])
    state = Table({"m": ModelTable({7: 100}, {}, {7: (*healthy, dead), 8: healthy})})
    ejected = "/stats?filter=m/{}/(rest|grpc).outlier_detection.ejections_active"
    # An ejection ends by itself after five seconds, so each is looked for all the time.
    seen: set[str] = set()
    with gateway(tmp_path, state) as running, running.channel() as channel:
        for _ in range(30):
            assert running.rest("POST", "/v1/models/m:predict", b"{}")[0] == 200
            assert call(channel, PREDICTION + "Predict", request("m"))[0] == "OK"
            seen |= set(running.admin(ejected.format(7)).splitlines())
            assert running.rest("POST", "/v1/models/m/versions/8:predict", b"{}", {"x-fail": "500"})[0] == 500
            assert running.rest("POST", "/v1/models/m/versions/8:predict", b"{}", {"x-fail": "400"})[0] == 400
            assert call(channel, PREDICTION + "Predict", request("m", 8), x_fail="INTERNAL")[0] == "INTERNAL"
            assert call(channel, PREDICTION + "Predict", request("m", 8), x_fail="INVALID_ARGUMENT")[0] != "OK"
        assert sum(line.endswith("active: 1") for line in seen) == 2, seen
        assert running.admin(ejected.format(8)).count("active: 0") == 2


def test_request_limits(three: tuple[Stub, ...], tmp_path: Path) -> None:
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port, max_request_bytes=1 << 20)
    with gateway(tmp_path, table(*three), shape) as running:
        assert running.rest("POST", "/v1/models/m:predict", b"x" * (1 << 19))[0] == 200
        assert running.rpc(PREDICTION + "Predict", request("m", padding=1 << 19))[0] == "OK"
        assert running.rest("POST", "/v1/models/m:predict", b"x" * ((1 << 20) + 1))[0] == 413
        assert running.rpc(PREDICTION + "Predict", request("m", padding=2 << 20))[0] == "RESOURCE_EXHAUSTED"
        assert running.rest("GET", "/readyz")[0] == 200


def test_large_requests_can_be_sent_again(three: tuple[Stub, ...], tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    dead = Endpoint("dead", f"127.0.0.1:{closed}", f"127.0.0.1:{closed}")
    state = Table({"m": ModelTable({7: 100}, {}, {7: (three[0].endpoint, dead)})})
    with gateway(tmp_path, state) as running:
        for _ in range(4):
            status, answer = running.rest("POST", "/v1/models/m:predict", b"x" * (20 << 20))
            assert (status, answer["bytes"]) == (200, 20 << 20)
            code, answer = running.rpc(PREDICTION + "Predict", request("m", label=None, padding=20 << 20))
            assert (code, answer["version"]) == ("OK", 7)


def test_a_killed_envoy_starts_again_in_its_folder(three: tuple[Stub, ...], tmp_path: Path) -> None:
    for _ in range(2):  # the block ends with SIGKILL, which leaves the administration's socket behind
        with gateway(tmp_path, table(*three)) as running:
            assert running.rest("POST", "/v1/models/m:predict", b"{}")[0] == 200


def test_two_gateways_share_ports(three: tuple[Stub, ...], tmp_path: Path) -> None:
    rest_port, grpc_port = free_ports(2)
    shape = GatewayShape(rest_port=rest_port, grpc_port=grpc_port)
    with (
        gateway(tmp_path / "one", table(*three), shape) as one,
        gateway(tmp_path / "two", table(*three), replace(shape, name="two")) as two,
    ):

        def both() -> bool:
            assert one.rest("POST", "/v1/models/m:predict", b"{}")[0] == 200
            return bool(one.log() and two.log())

        wait("both gateways are used", both)

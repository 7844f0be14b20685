"""What stands in front of several gateways of a host: a load balancer that tries again what a test lets it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.docker.engine import ADDRESS
from tfsdeploy.gateway.shape import envoy_binary

REST, GRPC, ADMIN = 9001, 9000, 9002
EXTENSIONS = "type.googleapis.com/envoy.extensions"
PREVIOUS = {"@type": f"{EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate"}
CONNECTING = "connect-failure"
"""Tried again is only a connection that could not be made: whatever a gateway does to a request counts."""

A_GATEWAY_GOES = f"{CONNECTING},reset,refused-stream,5xx,unavailable"
"""Tried again is what a gateway that goes may spoil, which hides its faults too; each is asked whether it is ready."""

RETRIES = {
    "num_retries": 4,
    "retry_host_predicate": [{"name": "previous", "typed_config": PREVIOUS}],
    "host_selection_retry_max_attempts": 5,
}


@contextmanager
def balancer(folder: Path, rest: Sequence[int], grpc: Sequence[int], retry_on: str) -> Iterator[tuple[str, str]]:
    """A load balancer over the published ports of gateways, until the block ends: its REST and gRPC addresses.

    Args:
        folder: for its files.
        rest: the gateways' REST ports.
        grpc: their gRPC ports, in the same order.
        retry_on: `CONNECTING` or `A_GATEWAY_GOES`.
    """
    file = folder / "balancer.json"
    file.write_text(json.dumps(_config(rest, grpc, retry_on)))
    with (folder / "balancer.log").open("wb") as log:
        argv = [str(envoy_binary()), "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"]
        process = subprocess.Popen([*argv, "--log-level", "warning"], stdout=log, stderr=log)
        try:
            _wait(folder / "balancer.log")
            yield f"http://{ADDRESS}:{REST}", f"{ADDRESS}:{GRPC}"
        finally:
            process.terminate()
            process.wait(60)


def _wait(log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"http://{ADDRESS}:{ADMIN}/ready", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def _config(rest: Sequence[int], grpc: Sequence[int], retry_on: str) -> dict[str, Any]:
    return {
        "admin": {"address": _address(ADMIN)},
        "static_resources": {
            "listeners": [_listener("rest", REST, retry_on), _listener("grpc", GRPC, retry_on)],
            "clusters": [
                _cluster("rest", rest, rest, "http", retry_on),
                _cluster("grpc", grpc, rest, "http2", retry_on),
            ],
        },
    }


def _listener(name: str, port: int, retry_on: str) -> dict[str, Any]:
    # The network of a container that was killed is gone with it: nobody resets its connections.
    each = {"per_try_timeout": "2s"} if retry_on == A_GATEWAY_GOES else {}
    route = {"cluster": name, "timeout": "60s", "retry_policy": {"retry_on": retry_on, **RETRIES, **each}}
    hosts = [{"name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
    router = {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": router}],
    }
    filters = [{"name": "http", "typed_config": manager}]
    return {"name": name, "address": _address(port), "filter_chains": [{"filters": filters}]}


def _cluster(name: str, ports: Sequence[int], health: Sequence[int], protocol: str, retry_on: str) -> dict[str, Any]:
    options = {
        "@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {f"{protocol}_protocol_options": {}},
    }
    endpoints = [
        {"endpoint": {"address": _address(port), "health_check_config": {"port_value": asked}}}
        for port, asked in zip(ports, health, strict=True)
    ]
    check = {
        "timeout": "1s",
        "interval": "0.2s",
        "no_traffic_interval": "0.2s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        # Envoy's own limits, of 3 retries at a time and of half the hosts being well, are for larger fleets.
        "circuit_breakers": {"thresholds": [{"max_retries": 1000}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "close_connections_on_host_health_failure": True,
        "health_checks": [check] if retry_on == A_GATEWAY_GOES else [],
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ADDRESS, "port_value": port}}

"""Table -> Envoy clusters: one for each model, version and protocol, with the replicas that have that version."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.gateway.shape import GatewayShape
from tfsdeploy.gateway.table import Endpoint, Table
from tfsdeploy.names import cluster_name

PROTOCOLS = ("rest", "grpc")

ANY = "any"
"""In a cluster's name: whichever version; for questions about the model itself."""

HEALTH = "health"
"""The cluster of all replicas, for `grpc.health.v1`; a model's clusters have slashes in their names."""

_TYPE = "type.googleapis.com/envoy."
_WINDOW = 1024 * 1024
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CODEC = {
    "name": "envoy.filters.http.upstream_codec",
    "typed_config": {"@type": _TYPE + "extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
}
_PROTOCOL_OPTIONS: dict[str, dict[str, Any]] = {
    "rest": {"http_protocol_options": {}},
    "grpc": {
        "http2_protocol_options": {
            "initial_stream_window_size": _WINDOW,
            "initial_connection_window_size": 8 * _WINDOW,
            # Notices within seconds that a replica's host is gone, which TCP alone would not.
            "connection_keepalive": {"interval": "5s", "timeout": "3s"},
        }
    },
}
_BEHAVIOUR: dict[str, Any] = {
    "connect_timeout": "1s",
    "lb_policy": "LEAST_REQUEST",
    # Never send to a replica that is known to be sick because many are: half of them stay in by the rule below.
    "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    "circuit_breakers": {
        "thresholds": [
            {
                "max_connections": 100_000,
                "max_pending_requests": 100_000,
                "max_requests": 100_000,
                # When a replica dies everything that was in flight there is sent again at once: a smaller budget loses
                # requests. Beyond that, retries at most double the load.
                "retry_budget": {"budget_percent": {"value": 100}, "min_retry_concurrency": 256},
            }
        ]
    },
    # Counts what says that the replica is sick (502, 503, 504, UNAVAILABLE, no connection, no answer), not what says
    # that the request or the model is bad (4xx, 500, INVALID_ARGUMENT, INTERNAL).
    "outlier_detection": {
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_time": "60s",
        "max_ejection_percent": 50,
    },
    "upstream_connection_options": {
        "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 5}
    },
}


def clusters(table: Table, shape: GatewayShape) -> list[dict[str, Any]]:
    """Every cluster that a route may name, in a stable order.

    Args:
        table: which replica has which version.
        shape: says where Envoy finds the script that writes the version into requests.

    Returns:
        Cluster resources as plain JSON values. A version without a replica has a cluster without endpoints, which Envoy
        answers with 503 or UNAVAILABLE.

    Raises:
        TfsdeployError: a replica's address is not ``host:port``.
    """
    options = {protocol: _options(protocol, None, shape) for protocol in PROTOCOLS}
    made = [_cluster(HEALTH, "grpc", table.replicas(), options["grpc"], None)]
    for model_name, model in table.models.items():
        for protocol in PROTOCOLS:
            for version, endpoints in model.versions.items():
                injecting = _options(protocol, version, shape)
                name = cluster_name(model_name, version, protocol)
                made.append(_cluster(name, protocol, endpoints, injecting, (model_name, str(version))))
            name = cluster_name(model_name, ANY, protocol)
            made.append(_cluster(name, protocol, model.replicas(), options[protocol], (model_name, ANY)))
    return made


def _cluster(
    name: str,
    protocol: str,
    endpoints: Iterable[Endpoint],
    options: dict[str, Any],
    identity: tuple[str, str] | None,
) -> dict[str, Any]:
    addresses = [endpoint.rest if protocol == "rest" else endpoint.grpc for endpoint in endpoints]
    resource: dict[str, Any] = {
        "@type": _TYPE + "config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC" if all(_is_ip(address) for address in addresses) else "STRICT_DNS",
        **_BEHAVIOUR,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_lb_endpoint(address) for address in addresses]}],
        },
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
    }
    if identity is not None:
        model_name, version = identity
        resource["metadata"] = {"filter_metadata": {"tfsdeploy": {"model": model_name, "version": version}}}
    return resource


def _options(protocol: str, version: int | None, shape: GatewayShape) -> dict[str, Any]:
    filters = [_CODEC] if version is None else [_inject(version, shape), _CODEC]
    return {
        "@type": _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": _PROTOCOL_OPTIONS[protocol],
        "http_filters": filters,
    }


def _inject(version: int, shape: GatewayShape) -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": _TYPE + "extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"filename": f"{shape.directory}/inject.lua"},
            "clear_route_cache": False,
            # As text: Envoy would turn a number into a double and print it shortened.
            "filter_context": {"version": str(version)},
            "shared_vm_id": "inject",
        },
    }


@lru_cache(maxsize=4096)
def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TfsdeployError(f"a replica's address is {address!r}", hint="it must be host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


@lru_cache(maxsize=4096)
def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(_split(address)[0])
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def _lb_endpoint(address: str) -> dict[str, Any]:
    host, port = _split(address)
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}

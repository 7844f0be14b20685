"""Table -> Envoy routes: which cluster answers which routing key.

The routing key is the header ``x-tfs-route``, which only the gateway's own scripts set: ``M`` by weight, ``M/V`` exact,
``M@L`` label, ``M/any`` whoever has the model, ``/health``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfsdeploy.gateway.clusters import ANY, HEALTH
from tfsdeploy.gateway.shape import GatewayShape
from tfsdeploy.gateway.table import ModelTable, Table
from tfsdeploy.names import cluster_name
from tfsdeploy.render.templates import seconds

_TYPE = "type.googleapis.com/envoy."
_ROUTE = _TYPE + "config.route.v3.Route"
_NOTHING_EFFECTIVE = "no version of the model is served yet"
_MISSING_VERSION = "no replica has the version"


def routes(table: Table, protocol: str, shape: GatewayShape) -> dict[str, Any]:
    """The route configuration of one protocol, as plain JSON values in a stable order.

    Args:
        table: the effective splits, labels and versions.
        protocol: ``rest`` or ``grpc``.
        shape: timeouts and the largest request that can be sent again.

    Returns:
        A RouteConfiguration called ``protocol``; every cluster that it names is one of ``clusters(table, shape)``.
    """
    actions = {"/health": _to({"cluster": HEALTH}, protocol, shape)} if protocol == "grpc" else {}
    for model_name, model in table.models.items():
        actions.update(_model(model_name, model, protocol, shape))
    host: dict[str, Any] = {
        "name": "models",
        "domains": ["*"],
        "matcher": {"on_no_match": _action(_last_resort(protocol))},
        "retry_policy": _retry_policy(shape),
        "request_body_buffer_limit": shape.max_request_bytes,
    }
    if shape.hedge_seconds:
        # A slow answer is waited for while another replica is asked too: nothing is cut, a hung replica loses nothing.
        host["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    if actions:
        host["matcher"]["matcher_tree"] = {
            "input": {
                "name": "key",
                "typed_config": {
                    "@type": _TYPE + "type.matcher.v3.HttpRequestHeaderMatchInput",
                    "header_name": "x-tfs-route",
                },
            },
            "exact_match_map": {"map": {key: _action(route) for key, route in actions.items()}},
        }
    return {
        "@type": _TYPE + "config.route.v3.RouteConfiguration",
        "name": protocol,
        "virtual_hosts": [host],
        "request_headers_to_remove": ["x-tfs-route"],
        "validate_clusters": False,
    }


def _model(model_name: str, model: ModelTable, protocol: str, shape: GatewayShape) -> dict[str, dict[str, Any]]:
    def exact(version: int) -> dict[str, Any]:
        if version not in model.versions:
            return _unavailable(_MISSING_VERSION)
        return _to({"cluster": cluster_name(model_name, version, protocol)}, protocol, shape)

    weights = model.weights()
    if not weights:
        by_weight = _unavailable(_NOTHING_EFFECTIVE)
    elif len(weights) == 1:
        by_weight = exact(next(iter(weights)))
    else:
        by_weight = _to(_weighted(model_name, weights, protocol), protocol, shape)
    return {
        model_name: by_weight,
        f"{model_name}/{ANY}": _to({"cluster": cluster_name(model_name, ANY, protocol)}, protocol, shape),
        **{f"{model_name}/{version}": exact(version) for version in model.versions},
        **{f"{model_name}@{label}": exact(version) for label, version in model.labels.items()},
    }


def _weighted(model_name: str, weights: Mapping[int, int], protocol: str) -> dict[str, Any]:
    shares = [
        {"name": cluster_name(model_name, version, protocol), "weight": weight} for version, weight in weights.items()
    ]
    return {"weighted_clusters": {"clusters": shares}}


def _to(destination: dict[str, Any], protocol: str, shape: GatewayShape) -> dict[str, Any]:
    longest = seconds(shape.timeout_seconds)
    if protocol == "rest":
        limit: dict[str, Any] = {"timeout": longest}
    else:
        limit = {"max_stream_duration": {"max_stream_duration": longest, "grpc_timeout_header_max": longest}}
    return {"route": {**limit, **destination}}


def _unavailable(message: str) -> dict[str, Any]:
    return {"direct_response": {"status": 503, "body": {"inline_string": message}}}


def _last_resort(protocol: str) -> dict[str, Any]:
    """Says what is unknown, in a script's words; if even that fails, 503."""
    script = {
        "@type": _TYPE + "extensions.filters.http.lua.v3.LuaPerRoute",
        "name": "unknown",
        "filter_context": {"protocol": protocol},
    }
    return {**_unavailable("the gateway could not read this request"), "typed_per_filter_config": {"unknown": script}}


def _action(route: dict[str, Any]) -> dict[str, Any]:
    return {"action": {"name": "route", "typed_config": {"@type": _ROUTE, "match": {"prefix": "/"}, **route}}}


def _retry_policy(shape: GatewayShape) -> dict[str, Any]:
    """What is sent again: all that got no answer from a model; inference has no effects, so twice does no harm."""
    return {
        "retry_on": "connect-failure,refused-stream,reset,unavailable,gateway-error",
        "num_retries": 3,
        **({"per_try_timeout": seconds(shape.hedge_seconds)} if shape.hedge_seconds else {}),
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": _TYPE + "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.1s"},
    }

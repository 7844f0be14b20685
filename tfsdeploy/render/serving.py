"""What every target tells a model server and a gateway agent on their command lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.fleet.model import Batching, Fleet, Store, to_plain

POLL_SECONDS = 1


def server_flags(
    fleet: Fleet,
    *,
    rest_port: int | str,
    grpc_port: int | str,
    models_config: str,
    batching: str,
    own: Mapping[str, str],
) -> tuple[str, ...]:
    """The arguments of tensorflow_model_server.

    Args:
        fleet: whose model server it is.
        rest_port: where it serves REST.
        grpc_port: where it serves gRPC.
        models_config: path of the file that the replica agent writes.
        batching: path of what `batching_text` says; only used if the fleet has batching.
        own: what the target adds, by flag; the fleet file's flags win.
    """
    flags: dict[str, str] = {
        "port": str(grpc_port),
        "rest_api_port": str(rest_port),
        "model_config_file": models_config,
        "model_config_file_poll_wait_seconds": str(POLL_SECONDS),
        "file_system_poll_wait_seconds": str(POLL_SECONDS),
        "enable_grpc_healthcheck_service": "true",
        # The agent decides what is tried again; the server's own retries would hold its threads for minutes.
        "max_num_load_retries": "0",
        "num_load_threads": "2",
        "num_unload_threads": "2",
        **own,
    }
    if fleet.serving.batching is not None:
        flags |= {"enable_batching": "true", "batching_parameters_file": batching}
    flags |= {name: _flag_value(value) for name, value in sorted(fleet.serving.flags.items())}
    return tuple(f"--{name}={value}" for name, value in flags.items())


def batching_text(batching: Batching) -> str:
    """A text BatchingParameters (session_bundle_config.proto): each number is a wrapper message of its own."""
    return "".join(f"{name} {{ value: {value} }}\n" for name, value in asdict(batching).items() if value is not None)


def gateway_flags(
    fleet: Fleet, *, drain_seconds: float, address: str, rest_port: int | str, grpc_port: int | str
) -> dict[str, str]:
    """The flags of the gateway agent that say how the gateway serves.

    Args:
        fleet: whose gateway it is.
        drain_seconds: how long the connections of its clients are wound down when it leaves.
        address: IP address that it listens on.
        rest_port: where it serves REST.
        grpc_port: where it serves gRPC.
    """
    return {
        "--min-available": str(fleet.serving.min_available),
        "--keep": str(fleet.serving.keep),
        "--drain-seconds": number(drain_seconds),
        "--address": address,
        "--rest-port": str(rest_port),
        "--grpc-port": str(grpc_port),
        "--timeout-seconds": number(fleet.gateway.timeout_seconds),
        "--per-try-timeout-seconds": number(fleet.gateway.per_try_timeout_seconds),
        "--max-request-bytes": str(fleet.gateway.max_request_bytes),
    }


def store_flags(store: Store) -> dict[str, str]:
    """The flags of the replica agent that say how its store is reached, and whose signatures it asks for."""
    if not is_object_store(store.url) and not store.options.require_signature:
        return {}
    return {"--store-options": json.dumps(to_plain(store.options), sort_keys=True)}


def number(value: float) -> str:
    """A number as a flag's value, without needless digits."""
    return f"{value:g}"


def _flag_value(value: bool | int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else number(value) if isinstance(value, float) else str(value)

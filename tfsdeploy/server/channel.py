"""How gRPC listens: TLS from an SSLConfig, and what channel arguments mean here (model_servers/server.cc)."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.flags import say

LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections and messages may be; the names of the arguments are gRPC's (grpc/impl/channel_arg_names.h).

    Attributes:
        received_bytes: of a request's message.
        sent_bytes: of an answer's.
        most_streams: requests at the same time on one connection; gRPC itself has no limit, but memory has.
        age_seconds: a connection is asked to leave when it is that old; None: never.
        grace_seconds: that it then has for what is in flight; None: as long as it takes.
        idle_seconds: without a request before it is asked to leave; None: for ever.
        keepalive_seconds: between two pings; None: none.
        keepalive_timeout_seconds: until a ping must be answered.
    """

    received_bytes: int = LARGEST
    sent_bytes: int = LARGEST
    most_streams: int = 10_000
    age_seconds: float | None = None
    grace_seconds: float | None = None
    idle_seconds: float | None = None
    keepalive_seconds: float | None = 7200.0
    keepalive_timeout_seconds: float | None = 20.0


_ARGUMENTS = {
    "grpc.max_receive_message_length": "received_bytes",
    "grpc.max_send_message_length": "sent_bytes",
    "grpc.max_concurrent_streams": "most_streams",
    "grpc.max_connection_age_ms": "age_seconds",
    "grpc.max_connection_age_grace_ms": "grace_seconds",
    "grpc.max_connection_idle_ms": "idle_seconds",
    "grpc.keepalive_time_ms": "keepalive_seconds",
    "grpc.keepalive_timeout_ms": "keepalive_timeout_seconds",
}


def tls_of(file: str) -> ssl.SSLContext | None:
    """What an SSLConfig file says.

    Args:
        file: text Protobuf, with the PEM texts themselves; empty for plain connections.

    Raises:
        Failed: INVALID_ARGUMENT: it cannot be read, or its keys are none. The original ends with SIGABRT.
    """
    if not file:
        return None
    from google.protobuf import text_format

    from tfsdeploy.protocol.wire_pb2 import SSLConfig

    try:
        config = text_format.Parse(Path(file).read_text(), SSLConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failed("INVALID_ARGUMENT", f"ssl_config_file {file}: {reason}") from error
    if not config.server_key or not config.server_cert:
        raise Failed("INVALID_ARGUMENT", f"ssl_config_file {file}: it needs server_key and server_cert")
    if config.client_verify and not config.custom_ca:
        raise Failed("INVALID_ARGUMENT", f"ssl_config_file {file}: client_verify needs custom_ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    try:
        _load(context, f"{config.server_key}\n{config.server_cert}")
        if config.custom_ca:
            context.load_verify_locations(cadata=config.custom_ca)
    except (ssl.SSLError, ValueError) as error:
        raise Failed(
            "INVALID_ARGUMENT", f"Failed to BuildAndStart gRPC server: ssl_config_file {file}: {error}"
        ) from error
    if config.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, pem: str) -> None:
    """Python reads keys from files alone; this one is in memory, so that the key is on no disk."""
    number = os.memfd_create("keys") if hasattr(os, "memfd_create") else None
    if number is None:
        _load_by_file(context, pem)
        return
    with os.fdopen(number, "w") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{number}")


def _load_by_file(context: ssl.SSLContext, pem: str) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w") as file:  # readable for its owner alone
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)


def arguments_of(text: str) -> list[tuple[str, int | str]]:
    """Channel arguments: ``NAME=VALUE,NAME=VALUE``.

    Raises:
        Failed: INVALID_ARGUMENT: one has no value. The original ends with SIGSEGV.
    """
    found: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise Failed("INVALID_ARGUMENT", f"grpc_channel_arguments: {part!r} is not NAME=VALUE")
        found.append((name, int(value) if value.removeprefix("-").isdecimal() and value.isascii() else value))
    return found


def limits_of(arguments: Mapping[str, int | str]) -> Limits:
    """What the arguments mean here; of one that means nothing a line is said."""
    found: dict[str, int | float | None] = {}
    for name, value in arguments.items():
        known = _ARGUMENTS.get(name)
        if known is None or not isinstance(value, int):
            say(f"accepted, does nothing here: --grpc_channel_arguments={name}={value}", "WARNING")
        elif name.endswith("_ms"):
            # Below 0, and from 2^31 - 1, is for ever (INT_MAX in gRPC).
            found[known] = value / 1000 if 0 <= value < LARGEST else None
        else:
            found[known] = value if 0 <= value < LARGEST else LARGEST
    return Limits(**found)  # type: ignore[arg-type]

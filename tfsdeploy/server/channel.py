"""How gRPC listens: TLS from an SSLConfig, and channel arguments (model_servers/server.cc)."""

from __future__ import annotations

from pathlib import Path

import grpc

from tfsdeploy.protocol.status import Failed


def credentials_of(file: str) -> grpc.ServerCredentials | None:
    """What an SSLConfig file says.

    Args:
        file: text Protobuf, with the PEM texts themselves; empty for plain connections.

    Raises:
        Failed: INVALID_ARGUMENT: it cannot be read. The original ends with SIGABRT.
    """
    if not file:
        return None
    from google.protobuf import text_format

    from tfsdeploy.protocol.wire_pb2 import SSLConfig

    try:
        config = text_format.Parse(Path(file).read_text(), SSLConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise Failed("INVALID_ARGUMENT", f"ssl_config_file {file}: {error}") from error
    if not config.server_key or not config.server_cert:
        raise Failed("INVALID_ARGUMENT", f"ssl_config_file {file}: it needs server_key and server_cert")
    if config.client_verify and not config.custom_ca:
        raise Failed("INVALID_ARGUMENT", f"ssl_config_file {file}: client_verify needs custom_ca")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


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

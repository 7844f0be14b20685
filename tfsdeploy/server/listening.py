"""The server's ports: bound, and given up when what is in flight is answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import grpc_front, rest_front
from tfsdeploy.server.channel import arguments_of, limits_of, tls_of
from tfsdeploy.server.core import Core
from tfsdeploy.server.flags import Flags, say
from tfsdeploy.server.grpc_service import Service
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.rest import Rest
from tfsdeploy.server.workers import Workers

MOST_PORT = 65535

BACKLOG = 1024

EVERY_IPV4 = "0.0.0.0"


class Connection(Protocol):
    """A client's connection."""

    def leave(self) -> None:
        """End when what was asked is answered."""

    def abort(self) -> None:
        """End at once."""


class Front(Protocol):
    """One protocol's connections."""

    @property
    def connections(self) -> Collection[Connection]:
        """Those that are open."""


@dataclass(frozen=True, slots=True)
class Port:
    """One protocol, on its sockets.

    Attributes:
        servers: what listens.
        front: its connections.
        workers: answer what is not quick.
    """

    servers: list[asyncio.Server]
    front: Front
    workers: Workers

    def __post_init__(self) -> None:
        for server in self.servers:
            for listener in server.sockets:
                # Connections inherit it: clients that vanish without a word are noticed, in the end.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def close(self, seconds: float) -> None:
        """Take no more connections, let requests in flight end, then end the rest.

        Args:
            seconds: that they may take.
        """
        for server in self.servers:
            server.close()
        for connection in list(self.front.connections):
            connection.leave()
        end = asyncio.get_running_loop().time() + seconds
        while self.front.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        for connection in list(self.front.connections):
            connection.abort()
        self.workers.close()


async def grpc(flags: Flags, core: Core, metrics: Metrics) -> Port:
    """Listen for gRPC.

    Raises:
        Failed: an address cannot be bound, or keys or arguments are none.
    """
    loop = asyncio.get_running_loop()
    service = Service(
        core,
        metrics,
        health=flags.enable_grpc_healthcheck_service or not flags.like_tfs,
        packed=flags.enable_serialization_as_tensor_content,
    )
    arguments = dict(arguments_of(flags.grpc_channel_arguments))
    shared = bool(arguments.pop("grpc.so_reuseport", 0))
    workers = Workers(loop, flags.grpc_threads, "grpc")
    front = grpc_front.Front(service.methods, service.watches, workers, limits_of(arguments))
    tls = tls_of(flags.ssl_config_file)
    servers = []
    try:
        if flags.port:
            address = flags.address or EVERY_IPV4
            where = f"{address}:{flags.port}"
            servers.append(
                await loop.create_server(
                    front.connect, address, _port(flags.port), ssl=tls, backlog=BACKLOG, reuse_port=shared
                )
            )
            say(f"Running gRPC ModelServer at {where} ...")
        if flags.grpc_socket_path:
            where = f"unix:{flags.grpc_socket_path}"
            servers.append(
                await loop.create_unix_server(front.connect, flags.grpc_socket_path, ssl=tls, backlog=BACKLOG)
            )
            say(f"Running gRPC ModelServer at UNIX socket {flags.grpc_socket_path} ...")
    except (OSError, OverflowError) as error:
        say(f"{where} cannot be bound: {getattr(error, 'strerror', None) or error}", "ERROR")
        raise Failed("INVALID_ARGUMENT", "Failed to BuildAndStart gRPC server") from error
    return Port(servers, front, workers)


async def rest(flags: Flags, answers: Rest) -> Port:
    """Listen for REST.

    Raises:
        Failed: UNAVAILABLE: the address cannot be bound. The original logs this and goes on with gRPC alone.
    """
    loop = asyncio.get_running_loop()
    workers = Workers(loop, flags.rest_threads, "rest")
    front = rest_front.Front(answers, workers)
    try:
        port = _port(flags.rest_api_port)
        if flags.address:
            server = await loop.create_server(front.connect, flags.address, port, backlog=BACKLOG)
        else:
            server = await loop.create_server(front.connect, sock=everywhere(port), backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"{flags.address or 'localhost'}:{flags.rest_api_port}"
        raise Failed("UNAVAILABLE", f"Failed to start HTTP Server at {where}: {reason}") from error
    say(f"Exporting HTTP/REST API at:localhost:{flags.rest_api_port} ...")
    return Port([server], front, workers)


def everywhere(port: int) -> socket.socket:
    """A socket for IPv6 and IPv4, or, where that cannot be had, for IPv4 alone (util/net_http/evhttp_server.cc).

    Raises:
        OSError: neither.
    """
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    return socket.create_server((EVERY_IPV4, port), backlog=BACKLOG)


def _port(number: int) -> int:
    """The port itself: uvloop, as the original, would take it modulo 65536 and listen where nobody asks."""
    if not 0 <= number <= MOST_PORT:
        raise OverflowError(f"ports are 1 to {MOST_PORT}")
    return number

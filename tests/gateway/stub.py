"""A model server's stand-in as a process of its own: answers over REST and gRPC what it was asked for, and who it is.

What it does with a request can be asked for: `x-sleep: SECONDS`, and `x-fail: CODE` (an HTTP status or a gRPC code).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

import grpc
from aiohttp import web

from tests.gateway.wire import ModelRequest, TasksRequest

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
HEALTH = "/grpc.health.v1.Health/Check"


def described(method: str, body: bytes) -> dict[str, Any]:
    """What a gRPC request asks for."""
    if method.endswith("/MultiInference"):
        tasks = TasksRequest.FromString(body).tasks
        spec, count = tasks[0].model_spec, len(tasks)
    else:
        spec, count = ModelRequest.FromString(body).model_spec, 0
    version = spec.version.value if spec.HasField("version") else None
    return {
        "model": spec.name,
        "version": version,
        "label": spec.version_label or None,
        "tasks": count,
        "bytes": len(body),
    }


class Service(grpc.GenericRpcHandler):
    """Answers every method."""

    def __init__(self, name: str) -> None:
        self.name = name

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        metadata = dict(call.invocation_metadata)

        async def answer(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
            await asyncio.sleep(float(metadata.get("x-sleep", 0)))
            if "x-fail" in metadata:
                await context.abort(grpc.StatusCode[metadata["x-fail"]], "as asked for")
            if call.method == HEALTH:
                return b"\x08\x01"
            return json.dumps({"name": self.name, **described(call.method, body)}).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


async def rest(name: str, request: web.Request) -> web.Response:
    """Answers every path."""
    body = await request.read()
    await asyncio.sleep(float(request.headers.get("x-sleep", 0)))
    headers: Mapping[str, str] = request.headers
    facts = {
        "name": name,
        "method": request.method,
        "path": request.raw_path,
        "bytes": len(body),
        "headers": sorted(headers),
    }
    return web.json_response(facts, status=int(headers.get("x-fail", 200)))


async def main(name: str) -> None:
    """Serves on free ports and prints them."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Service(name),))
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", lambda request: rest(name, request))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(json.dumps({"rest": runner.addresses[0][1], "grpc": grpc_port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

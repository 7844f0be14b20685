"""`tfsdeploy predict MODEL`: one request through the gateway."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfsdeploy.cli import complete, words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument
from tfsdeploy.errors import TfsdeployError, UsageError

if TYPE_CHECKING:
    from tfsdeploy.targets.base import GatewayAddress

_REQUESTS = """such as '{"instances": [1.0]}', in quotes for the shell; @FILE reads one, --example makes one"""


@declare(
    "predict",
    examples=(
        """tfsdeploy predict half_plus_two '{"instances": [1.0, 2.0, 5.0]}'""",
        "tfsdeploy predict ranker @request.json --version 8",
        "tfsdeploy predict ranker --example --grpc",
        "tfsdeploy predict ranker --example --at http://gateway.example:8501",
    ),
    exits=(0, 1, 2),
    fields=("model", "protocol", "answer"),
)
@model_argument
@click.argument("request_json", metavar="[JSON|@FILE|-]", required=False)
@click.option("--example", is_flag=True, help="Make the request from the model's signature.")
@click.option(
    "--version", type=words.version, metavar="VERSION", shell_complete=complete.versions, help="Exactly this version."
)
@click.option("--grpc", is_flag=True, help='Over gRPC; JSON is then in column format: {"inputs": {NAME: VALUES}}.')
@click.option("--at", metavar="URL", help="A gateway's REST address, instead of a fleet.")
@click.option("--grpc-at", metavar="HOST:PORT", help="Its gRPC address.")
@fleet_options(by_name=True, timeout=30.0)
def command(
    call: Call,
    model: str,
    request_json: str | None,
    example: bool,
    version: int | None,
    grpc: bool,
    at: str | None,
    grpc_at: str | None,
) -> None:
    """Ask MODEL through the gateway, and print its answer.

    JSON is TensorFlow Serving's REST predict request; @FILE reads it from a file, - from standard input.
    """
    from tfsdeploy.deploy.metadata import example_request, example_values, inputs_of

    call.answer.know(model=model, protocol="grpc" if grpc else "rest")
    if example == (request_json is not None):
        raise UsageError("one of the two is needed: a request, or --example", hint=_REQUESTS)
    gateway = _gateway(call, model, at, grpc_at, grpc=grpc)
    body = None if request_json is None else _read(request_json)
    if grpc:
        from tfsdeploy.deploy.probe import grpc_request

        values = None if body is None else _columns(body)
        inputs = inputs_of(gateway.rest, model, version)
        request = grpc_request(model, inputs, example_values(inputs) if values is None else values, version=version)
        answer = _over_grpc(call, gateway, request)
    else:
        body = example_request(inputs_of(gateway.rest, model, version)) if body is None else body
        answer = _over_rest(call, gateway, model, version, body)
    call.answer.give({"answer": answer})
    if not call.answer.json:
        click.echo(json.dumps(answer, indent=2))


def _gateway(call: Call, model: str, at: str | None, grpc_at: str | None, *, grpc: bool) -> GatewayAddress:
    """The gateway that is asked: that of the addresses, else one of the fleet, which must have the model."""
    from tfsdeploy.deploy.probe import gateway_of
    from tfsdeploy.release.update import model_of, present
    from tfsdeploy.targets.base import GatewayAddress

    if at is not None or grpc_at is not None:
        if at is None or (grpc and grpc_at is None):
            raise UsageError("both addresses of the gateway are needed", hint="--at URL --grpc-at HOST:PORT")
        return GatewayAddress("", "", words.gateway_url(at), grpc_at or "")
    _ = call.settings
    model_of(present(call.target.releases()), model)
    return gateway_of(call.target)


def _read(words: str) -> bytes:
    try:
        if words == "-":
            body = sys.stdin.buffer.read()
        else:
            body = Path(words[1:]).read_bytes() if words.startswith("@") else words.encode()
        json.loads(body)
    except OSError as error:
        raise UsageError(f"the request cannot be read: {error.strerror}", where=words) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is not JSON: {error}", hint=_REQUESTS) from error
    return body


def _columns(body: bytes) -> dict[str, Any]:
    plain = json.loads(body)
    inputs = plain.get("inputs") if isinstance(plain, dict) else None
    if not isinstance(inputs, dict):
        raise UsageError("over gRPC the request is in column format", hint='{"inputs": {"NAME": VALUES}}')
    return inputs


def _over_rest(call: Call, gateway: GatewayAddress, model: str, version: int | None, body: bytes) -> Any:
    from tfsdeploy.deploy.metadata import failure, model_path

    url = gateway.rest + model_path(model, version) + ":predict"
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=call.timeout) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        raise failure(error, url) from error


def _over_grpc(call: Call, gateway: GatewayAddress, request: bytes) -> Any:
    import grpc

    from tfsdeploy.deploy.probe import grpc_answer
    from tfsdeploy.protocol.wire import PREDICT

    try:
        with grpc.insecure_channel(gateway.grpc) as channel:
            method = channel.unary_unary(PREDICT, request_serializer=None, response_deserializer=None)
            return grpc_answer(method(request, timeout=call.timeout))
    except grpc.RpcError as error:
        raise TfsdeployError(f"gRPC {error.code().name}: {error.details()}", where=gateway.grpc) from error

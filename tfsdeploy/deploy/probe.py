"""Requests to one model through the gateway, made from its signature: for probes, benchmarks and `predict`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from tfsdeploy.deploy.load import Ask
from tfsdeploy.deploy.metadata import SIGNATURE, Input, example_request, example_values, inputs_of, model_path
from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.protocol.wire import PREDICT, PredictRequest, PredictResponse, TensorProto, tensor, tensor_values
from tfsdeploy.targets.base import GatewayAddress, Target

Protocol = Literal["rest", "grpc"]
BOTH: tuple[Protocol, ...] = ("rest", "grpc")


def gateway_of(target: Target) -> GatewayAddress:
    """The gateway that clients use; gateways of one machine share their ports.

    Raises:
        TfsdeployError: the fleet has none.
    """
    gateways = target.gateways()
    if not gateways:
        raise TfsdeployError(f"fleet {target.fleet} has no gateway", hint="run `tfsdeploy up` first")
    return gateways[0]


def asks(rest: str, model: str, protocols: tuple[Protocol, ...] = BOTH) -> list[Ask]:
    """One request a protocol, which any sound answer satisfies.

    Args:
        rest: URL of the gateway, which knows the model's signature.
        model: its name.
        protocols: those that are wanted.

    Raises:
        TfsdeployError: the model does not answer through the gateway.
        UsageError: no request can be made from its signature.
    """
    inputs = inputs_of(rest, model)
    made = {
        "rest": lambda: Ask("rest", f"{model_path(model)}:predict", example_request(inputs), rest_answer_wrong),
        "grpc": lambda: Ask("grpc", PREDICT, grpc_request(model, inputs, example_values(inputs)), grpc_answer_wrong),
    }
    return [made[protocol]() for protocol in protocols]


def grpc_request(
    model: str, inputs: Mapping[str, Input], values: Mapping[str, Any], *, version: int | None = None
) -> bytes:
    """A serialized PredictRequest.

    Args:
        model: its name.
        inputs: of its signature, for the types.
        values: nested lists by input.
        version: the exact version; None leaves the choice to the gateway.

    Raises:
        UsageError: an input that the signature does not have, or values of another type.
    """
    request = PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = SIGNATURE
    if version is not None:
        request.model_spec.version.value = version
    for name, value in values.items():
        if name not in inputs:
            raise UsageError(f"the signature has no input {name!r}", hint=f"it has: {', '.join(inputs)}")
        try:
            request.inputs[name].CopyFrom(tensor(value, inputs[name].dtype))
        except ValueError as error:
            raise UsageError(f"input {name}: {error}") from error
    return request.SerializeToString()


def grpc_answer(body: bytes) -> dict[str, Any]:
    """A serialized PredictResponse as plain values: the version that answered, and flat outputs with their shapes."""
    response = PredictResponse.FromString(body)
    outputs = {name: _tensor(message) for name, message in sorted(response.outputs.items())}
    return {"version": response.model_spec.version.value or None, "outputs": outputs}


def rest_answer_wrong(body: bytes) -> str | None:
    """What is wrong with a REST answer of status 200, or None."""
    plain = json.loads(body)
    return None if isinstance(plain, dict) and ("outputs" in plain or "predictions" in plain) else "no outputs"


def grpc_answer_wrong(body: bytes) -> str | None:
    """What is wrong with a serialized PredictResponse, or None."""
    from google.protobuf.message import DecodeError

    try:
        return None if PredictResponse.FromString(body).outputs else "no outputs"
    except DecodeError as error:
        return str(error)


def _tensor(message: TensorProto) -> dict[str, Any]:
    values = [_plain(value) for value in tensor_values(message)]
    return {"shape": [dim.size for dim in message.tensor_shape.dim], "values": values}


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

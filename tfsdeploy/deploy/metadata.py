"""A model's signature as its servers tell it over REST, and a request made from it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import prod
from typing import Any
from urllib.parse import quote

from tfsdeploy.errors import TfsdeployError, UsageError

SIGNATURE = "serving_default"

MAX_ELEMENTS = 1_000_000
"""An example with more elements is not made: as JSON it would be megabytes."""

_WHOLE = {"DT_INT8", "DT_INT16", "DT_INT32", "DT_INT64", "DT_UINT8", "DT_UINT16", "DT_UINT32", "DT_UINT64"}
_REAL = {"DT_HALF", "DT_BFLOAT16", "DT_FLOAT", "DT_DOUBLE"}


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a signature.

    Attributes:
        dtype: TensorFlow's name, such as ``DT_FLOAT``.
        shape: sizes; -1 where any is allowed; None where the rank is not known.
    """

    dtype: str
    shape: tuple[int, ...] | None


def model_path(model: str, version: int | None = None, label: str | None = None) -> str:
    """The REST path of a model, and of one version or label of it if named."""
    path = f"/v1/models/{quote(model, safe='')}"
    if version is not None:
        return f"{path}/versions/{version}"
    return f"{path}/labels/{quote(label, safe='')}" if label is not None else path


def inputs_of(rest: str, model: str, version: int | None = None, *, timeout: float = 10.0) -> dict[str, Input]:
    """The inputs of a model's default signature, asked over REST.

    Args:
        rest: ``http://host:port`` of a gateway or server.
        model: its name.
        version: which; None for whichever serves.
        timeout: seconds to wait for the answer.

    Raises:
        UsageError: the model has no such signature.
        TfsdeployError: it does not answer.
    """
    url = rest + model_path(model, version) + "/metadata"
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            plain = json.load(answer)
    except (OSError, ValueError) as error:
        raise failure(error, url) from error
    return read_inputs(plain, model)


def failure(error: OSError | ValueError, url: str) -> TfsdeployError:
    """What a request to a gateway came to; a usage error where the model or version is not there."""
    if isinstance(error, urllib.error.HTTPError):
        with error:
            words = error.read()[:1000].decode(errors="replace").strip()
        if error.code == HTTPStatus.NOT_FOUND:
            return UsageError(words, where=url, hint="`tfsdeploy status` shows which versions are loaded")
        return TfsdeployError(f"HTTP {error.code}: {words}", where=url)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    words = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return TfsdeployError(f"no answer: {words}", where=url, hint="`tfsdeploy status` shows what serves")


def read_inputs(plain: Any, model: str) -> dict[str, Input]:
    """The inputs in a metadata document of TF Serving's REST API.

    Raises:
        UsageError: the model has no signature named ``serving_default``.
    """
    try:
        signatures = plain["metadata"]["signature_def"]["signature_def"]
        found = signatures[SIGNATURE]["inputs"]
        return {str(name): _input(tensor) for name, tensor in sorted(found.items())}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"model {model} has no signature {SIGNATURE} that a request could be made from",
            hint="give the request yourself",
        ) from error


def example_values(inputs: Mapping[str, Input]) -> dict[str, Any]:
    """A value for every input: zeros, false or empty text, with 1 wherever any size is allowed.

    Raises:
        UsageError: an input is of a type that JSON has no spelling for, or larger than anyone would send.
    """
    for name, tensor in inputs.items():
        if prod(max(size, 1) for size in tensor.shape or ()) > MAX_ELEMENTS:
            words = f"input {name} has more than {MAX_ELEMENTS} elements, too many for an example"
            raise UsageError(words, hint="give the request yourself")
    return {name: _filled(_zero(name, tensor.dtype), tensor.shape) for name, tensor in inputs.items()}


def example_request(inputs: Mapping[str, Input]) -> bytes:
    """A REST predict request in column format, made of `example_values`."""
    values = example_values(inputs)
    # One input needs no name: of a TFLite model's the official server knows others than the embedded one.
    return json.dumps({"inputs": next(iter(values.values())) if len(values) == 1 else values}).encode()


def _input(tensor: Mapping[str, Any]) -> Input:
    shape = tensor["tensor_shape"]
    if shape.get("unknown_rank"):
        return Input(str(tensor["dtype"]), None)
    return Input(str(tensor["dtype"]), tuple(int(dim["size"]) for dim in shape.get("dim", ())))


def _zero(name: str, dtype: str) -> Any:
    if dtype in _REAL:
        return 0.0
    if dtype in _WHOLE:
        return 0
    if dtype == "DT_BOOL":
        return False
    if dtype == "DT_STRING":
        return ""
    words = f"input {name} is of type {dtype}, of which no example can be made"
    raise UsageError(words, hint="give the request yourself")


def _filled(value: Any, shape: tuple[int, ...] | None) -> Any:
    # An unknown rank takes a batch of one: what most models expect that do not say.
    for size in reversed((1,) if shape is None else shape):
        value = [value] * (1 if size < 0 else size)
    return value

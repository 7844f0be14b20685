"""REST predict bodies: rows of instances or columns of inputs to arrays, in words of util/json_tensor.cc."""

from __future__ import annotations

import array as memory
import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.dtype_names import name_of
from tfsdeploy.server.json_answer import Array, Format
from tfsdeploy.server.json_document import shown

Dtypes = Mapping[str, np.dtype[Any]]

_READ = frozenset(
    {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "object"}
)

# The original reads the narrow ones as int32, and lets them wrap.
_RANGES = {name: np.iinfo(name) for name in ("int32", "int64", "uint32", "uint64")} | {
    name: np.iinfo("int32") for name in ("int8", "int16", "uint8")
}

_NUMBERS = frozenset({float, int})

MAX_DIMENSIONS = 64
"""numpy's limit; TensorFlow's is 254."""


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names; ``serving_default`` if it names none."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _wrong(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or "serving_default"


def form_of(document: Mapping[str, Any]) -> Format:
    """Whether a request is in rows or in columns.

    Raises:
        Failed: INVALID_ARGUMENT: in neither, or in both.
    """
    rows, columns = "instances" in document, "inputs" in document
    if rows and columns:
        raise _wrong(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if not rows and not columns:
        raise _wrong("Missing 'inputs' or 'instances' key")
    return "row" if rows else "column"


def inputs_of(document: Mapping[str, Any], dtypes: Dtypes) -> dict[str, Array]:
    """The input arrays of a predict request.

    Args:
        document: the request.
        dtypes: alias -> dtype, of every input of the signature.

    Raises:
        Failed: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    return _rows(document, dtypes) if form_of(document) == "row" else _columns(document["inputs"], dtypes)


def _rows(document: Mapping[str, Any], dtypes: Dtypes) -> dict[str, Array]:
    instances = document["instances"]
    if not isinstance(instances, list):
        raise _wrong(f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise _wrong(f"JSON Value: {shown(document)} No values in 'instances' array")
    objects = _is_object(instances[0])
    if len(dtypes) != 1 and not objects:
        raise _wrong(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    fault = _wrong("the instances are not alike")
    columns = _by_alias(instances, dtypes, objects)
    if columns is not None:
        try:
            return {alias: _array(values, dtypes[alias]) for alias, values in columns.items()}
        except Failed as failed:
            fault = failed
    raise _first_fault(instances, dtypes, objects) or fault


def _by_alias(instances: list[Any], dtypes: Dtypes, objects: bool) -> dict[str, list[Any]] | None:
    """The instances of each input; None if they do not all have the same ones."""
    if objects:
        if any(type(item) is not dict or item.keys() != dtypes.keys() for item in instances):
            return None
        return {alias: [item[alias] for item in instances] for alias in dtypes}
    if dict in set(map(type, instances)) and any(map(_is_object, instances)):
        return None
    return dict.fromkeys(dtypes, instances)


def _first_fault(instances: list[Any], dtypes: Dtypes, objects: bool) -> Failed | None:
    """What is wrong: instance after instance, and in each one key after the other, as the original goes.

    It answers INVALID_ARGUMENT whatever the reason is.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    (alias, *_) = dtypes
    for at, item in enumerate(instances):
        if objects is not _is_object(item):
            found = "Expecting object but got list" if objects else "Expecting value/list but got object"
            return _wrong(f"{found} at item {at} of input list")
        for key, value in item.items() if objects else [(alias, item)]:
            try:
                _check_instance(key, value, dtypes, shapes)
            except Failed as error:
                named = f" key: {key}" if objects else ""
                return _wrong(
                    f"Failed to process element: {at}{named} of 'instances' list. Error: {error.code}: {error.message}"
                )
        if objects and item.keys() != dtypes.keys():
            return _wrong(
                f"Failed to process element: {at} of 'instances' list. JSON object: {shown(item)} "
                f"keys must be equal to: {','.join(sorted(dtypes))}"
            )
    return None


def _check_instance(alias: str, value: Any, dtypes: Dtypes, shapes: dict[str, tuple[int, ...]]) -> None:
    """One instance of one input: whether it can be read, and has the shape of the ones before."""
    if alias not in dtypes:
        raise _wrong(f"JSON object: does not have named input: {alias}")
    shape = _array(value, dtypes[alias]).shape
    expected = shapes.setdefault(alias, shape)
    if math.prod(expected) != math.prod(shape):
        raise _wrong(f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}")
    if expected != shape:
        raise _wrong(f"Expecting shape {_shape(expected)} but got: {_shape(shape)}")


def _columns(inputs: Any, dtypes: Dtypes) -> dict[str, Array]:
    if _is_object(inputs):
        for alias in dtypes:
            if alias not in inputs:
                raise _wrong(f"Missing named input: {alias} in 'inputs' object.")
        return {alias: _array(inputs[alias], dtype) for alias, dtype in dtypes.items()}
    if len(dtypes) != 1:
        raise _wrong(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    ((alias, dtype),) = dtypes.items()
    return {alias: _array(inputs, dtype)}


def _array(value: Any, dtype: np.dtype[Any]) -> Array:
    quickly = _quickly(value) if dtype.char in "fd" else None
    if quickly is not None:
        numbers, shape = quickly
        # By way of double, as RapidJSON gives them.
        return np.frombuffer(memory.array(dtype.char, numbers), dtype).reshape(shape)
    return _carefully(value, dtype)


def _quickly(value: Any) -> tuple[list[float], tuple[int, ...]] | None:
    """Numbers and their shape, for what most clients send: lists of them. None: it needs a closer look."""
    shape: list[int] = []
    while type(value) is list and value and len(shape) < MAX_DIMENSIONS:
        kinds = set(map(type, value))
        if kinds <= _NUMBERS:
            return value, (*shape, len(value) // math.prod(shape))
        sizes = set(map(len, value)) if kinds == {list} else ()
        if len(sizes) != 1:
            return None
        shape.append(len(value) // math.prod(shape))
        value = list(chain.from_iterable(value))
    return None


def _carefully(value: Any, dtype: np.dtype[Any]) -> Array:
    shape: list[int] = []
    probe = value
    while isinstance(probe, list):
        shape.append(len(probe))
        if not probe:
            break
        probe = probe[0]
    if len(shape) > MAX_DIMENSIONS:
        raise _wrong(f"this server's tensors have at most {MAX_DIMENSIONS} dimensions; got: {len(shape)}")
    flat: list[Any] = []
    _collect(value, shape, 0, dtype, flat)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.kind == "O":
            filled = np.empty(len(flat), dtype=object)
            filled[:] = flat
            return filled.reshape(shape)
        # By way of the wide type, so that narrow ones wrap instead of being refused.
        wide = np.dtype(np.uint64) if dtype.kind == "u" and dtype.itemsize == 8 else None
        return np.array(flat, wide).astype(dtype).reshape(shape) if flat else np.zeros(shape, dtype)


def _collect(value: Any, shape: Sequence[int], level: int, dtype: np.dtype[Any], flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level < len(shape):
            raise _wrong(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(_element(value, dtype))
        return
    if level == len(shape):
        raise _wrong(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise _wrong(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level == len(shape) - 1 and _all_floats(value, dtype):
        flat += value
        return
    for inner in value:
        _collect(inner, shape, level + 1, dtype, flat)


def _all_floats(values: list[Any], dtype: np.dtype[Any]) -> bool:
    """The common case, quickly: numbers for a tensor of numbers that need no further look."""
    return dtype.char in "fd" and _NUMBERS.issuperset(map(type, values))


def _element(value: Any, dtype: np.dtype[Any]) -> Any:
    name, kind = dtype.name, dtype.kind
    if isinstance(value, dict):
        if kind == "O":
            return decoded(value)
    elif name not in _READ:
        raise Failed("UNIMPLEMENTED", f"Conversion of JSON Value: {shown(value)} to type: {name_of(dtype)}")
    elif isinstance(value, bool):
        if kind == "b":
            return value
    elif isinstance(value, int):
        if kind == "f":
            return float(value)
        if name in _RANGES and _RANGES[name].min <= value <= _RANGES[name].max:
            return value
    elif isinstance(value, float):
        if kind == "f":
            return value
    elif isinstance(value, str) and kind == "O":
        return value.encode("utf-8", errors="surrogateescape")
    raise _wrong(_type_words(value, dtype))


def decoded(value: dict[str, Any]) -> bytes:
    """The bytes of ``{"b64": TEXT}``.

    Raises:
        Failed: INVALID_ARGUMENT.
    """
    if not is_base64(value):
        raise _wrong(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong("Unable to base64 decode") from error


def type_name(value: Any) -> str:
    """What a JSON value is, in RapidJSON's words."""
    kinds: tuple[tuple[type, str], ...] = ((str, "String"), (dict, "Object"), (list, "Array"), (type(None), "Null"))
    found = ("True" if value else "False") if isinstance(value, bool) else "Number"
    return next((name for kind, name in kinds if isinstance(value, kind)), found)


def _type_words(value: Any, dtype: np.dtype[Any]) -> str:
    return f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: {name_of(dtype)}"


def _shape(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def is_base64(value: Any) -> bool:
    """Whether a JSON value is ``{"b64": TEXT}``, and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_object(value: Any) -> bool:
    """A one-key ``{"b64": …}`` is a value."""
    return isinstance(value, dict) and not is_base64(value)


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

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
from tfsdeploy.server.json_answer import Array, Format
from tfsdeploy.server.json_document import shown

Dtypes = Mapping[str, np.dtype[Any]]

_NAMES = {"float32": "float", "float64": "double", "object": "string", "bool": "bool", "float16": "half"}
_READ = frozenset(
    {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "object"}
)

# The original checks the range of the wide ones alone; the narrow ones wrap.
_CHECKED = frozenset({"int32", "int64", "uint32", "uint64"})

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
    objects = [_is_object(item) for item in instances]
    if True in objects and False in objects:
        at = objects.index(not objects[0])
        found = "Expecting object but got list" if objects[0] else "Expecting value/list but got object"
        raise _wrong(f"{found} at item {at} of input list")
    if objects[0]:
        return _row_objects(instances, dtypes)
    if len(dtypes) != 1:
        raise _wrong(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    ((alias, dtype),) = dtypes.items()
    return {alias: _stacked(instances, dtype, "")}


def _row_objects(instances: list[dict[str, Any]], dtypes: Dtypes) -> dict[str, Array]:
    for at, item in enumerate(instances):
        for key in item:
            if key not in dtypes:
                raise _wrong(
                    f"Failed to process element: {at} key: {key} of 'instances' list. Error: INVALID_ARGUMENT: "
                    f"JSON object: does not have named input: {key}"
                )
        if item.keys() != dtypes.keys():
            expected = ",".join(sorted(dtypes))
            raise _wrong(
                f"Failed to process element: {at} of 'instances' list. JSON object: {shown(item)} "
                f"keys must be equal to: {expected}"
            )
    return {alias: _stacked([item[alias] for item in instances], dtype, alias) for alias, dtype in dtypes.items()}


def _stacked(items: list[Any], dtype: np.dtype[Any], key: str) -> Array:
    """All instances of one input; one by one only to find out which one is wrong."""
    try:
        return _array(items, dtype)
    except Failed:
        shapes: list[tuple[int, ...]] = []
        for at, item in enumerate(items):
            try:
                shapes.append(_array(item, dtype).shape)
                if shapes[-1] != shapes[0]:
                    raise _wrong(_shape_difference(shapes[0], shapes[-1])) from None
            except Failed as error:
                named = f" key: {key}" if key else ""
                # In rows the original answers 400 whatever the reason is.
                raise _wrong(
                    f"Failed to process element: {at}{named} of 'instances' list. Error: {error.code}: {error.message}"
                ) from error
        raise


def _shape_difference(expected: tuple[int, ...], found: tuple[int, ...]) -> str:
    if len(expected) == len(found) and len(expected) > 0:
        return f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(found)}"
    return f"Expecting shape {_shape(expected)} but got: {_shape(found)}"


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
        raise _wrong(f"Expecting tensor size: {shape[level]} but got: {len(value)}")
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
    if name not in _READ:
        raise Failed("UNIMPLEMENTED", f"Conversion of JSON Value: {shown(value)} to type: {_NAMES.get(name, name)}")
    if isinstance(value, bool):
        if kind == "b":
            return value
    elif isinstance(value, int):
        if kind == "f":
            return float(value)
        if kind in "iu" and (name not in _CHECKED or np.iinfo(dtype).min <= value <= np.iinfo(dtype).max):
            return value
    elif isinstance(value, float) and kind == "f":
        return value
    elif isinstance(value, str) and kind == "O":
        return value.encode("utf-8", errors="surrogateescape")
    elif isinstance(value, dict) and kind == "O":
        return decoded(value)
    raise _wrong(_type_words(value, dtype))


def decoded(value: dict[str, Any]) -> bytes:
    """The bytes of ``{"b64": TEXT}``.

    Raises:
        Failed: INVALID_ARGUMENT.
    """
    text = value.get("b64")
    if len(value) != 1 or not isinstance(text, str):
        raise _wrong(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = "".join(text.split())
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
    expected = _NAMES.get(dtype.name, dtype.name)
    return f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: {expected}"


def _shape(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _is_object(value: Any) -> bool:
    """A one-key ``{"b64": …}`` is a value."""
    return isinstance(value, dict) and not (len(value) == 1 and "b64" in value)


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

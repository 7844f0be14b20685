"""REST bodies: JSON in rows or columns to arrays and back, in TF Serving's words (util/json_tensor.cc)."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tfsdeploy.protocol.status import Failed

Array = np.ndarray[Any, Any]
Format = Literal["row", "column"]
Dtypes = Mapping[str, np.dtype[Any]]

_NAMES = {"float32": "float", "float64": "double", "object": "string", "bool": "bool"}
_FIRST_WINS: Any = lambda pairs: dict(reversed(pairs))  # noqa: E731


def parse(body: bytes) -> dict[str, Any]:
    """A request's JSON object; what follows the first value is ignored, as the original does.

    Raises:
        Failed: INVALID_ARGUMENT.
    """
    text = body.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    start = len(text) - len(text.lstrip())
    if start == len(text):
        raise _wrong(f"JSON Parse error: The document is empty. at offset: {start}")
    try:
        document, _ = json.JSONDecoder(object_pairs_hook=_FIRST_WINS).raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _wrong(f"JSON Parse error: Invalid value. at offset: {error.pos}") from error
    except RecursionError as error:
        raise _wrong("JSON Parse error: nested too deeply") from error
    if not isinstance(document, dict):
        raise _wrong(f"JSON Value: {_shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names; ``serving_default`` if it names none."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _wrong(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or "serving_default"


def inputs_of(document: Mapping[str, Any], dtypes: Dtypes) -> tuple[dict[str, Array], Format]:
    """The input arrays of a predict request.

    Args:
        document: the request.
        dtypes: alias -> dtype, of every input of the signature.

    Raises:
        Failed: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    rows, columns = "instances" in document, "inputs" in document
    if rows and columns:
        raise _wrong(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if rows:
        return _rows(document, dtypes), "row"
    if columns:
        return _columns(document["inputs"], dtypes), "column"
    raise _wrong("Missing 'inputs' or 'instances' key")


def render(outputs: Mapping[str, Array], form: Format) -> str:
    """A predict answer.

    Raises:
        Failed: INVALID_ARGUMENT if outputs of a row answer do not have one row an instance.
    """
    if form == "column":
        values: Any = {name: _plain(name, array) for name, array in outputs.items()}
        answer = values if len(values) > 1 else next(iter(values.values()))
        return "{\n" + f'    "outputs": {_column_text(answer, 4)}' + "\n}"
    sizes = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(sizes) != 1 or None in sizes:
        name, array = next(iter(sorted(outputs.items())))
        if None in sizes:
            raise _wrong(f"Tensor name: {name} has no shape information ")
        other = next(a for a in outputs.values() if a.shape[0] != array.shape[0])
        raise _wrong(f"Tensor name: {name} has inconsistent batch size: {other.shape[0]} expecting: {array.shape[0]}")
    plain = {name: _plain(name, array) for name, array in outputs.items()}
    if len(plain) == 1:
        rows = ", ".join(_row_text(value) for value in next(iter(plain.values())))
        return "{\n" + f'    "predictions": [{rows}\n    ]' + "\n}"
    count = sizes.pop() or 0
    lines = [
        "        {\n"
        + ",\n".join(f"            {json.dumps(n)}: {_row_text(v[i])}" for n, v in plain.items())
        + "\n        }"
        for i in range(count)
    ]
    return '{\n    "predictions": [\n' + ",\n".join(lines) + "\n    ]\n}"


def _rows(document: Mapping[str, Any], dtypes: Dtypes) -> dict[str, Array]:
    instances = document["instances"]
    if not isinstance(instances, list):
        raise _wrong(f"JSON Value: {_shown(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise _wrong(f"JSON Value: {_shown(document)} No values in 'instances' array")
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
                f"Failed to process element: {at} of 'instances' list. JSON object: {_shown(item)} "
                f"keys must be equal to: {expected}"
            )
    return {alias: _stacked([item[alias] for item in instances], dtype, alias) for alias, dtype in dtypes.items()}


def _stacked(items: Sequence[Any], dtype: np.dtype[Any], key: str) -> Array:
    arrays: list[Array] = []
    for at, item in enumerate(items):
        try:
            array = _array(item, dtype)
            if arrays and array.shape != arrays[0].shape:
                raise _wrong(_shape_difference(arrays[0].shape, array.shape))
        except Failed as error:
            named = f" key: {key}" if key else ""
            raise Failed(
                error.code,
                f"Failed to process element: {at}{named} of 'instances' list. Error: {error.code}: {error.message}",
            ) from error
        arrays.append(array)
    return np.stack(arrays)


def _shape_difference(expected: tuple[int, ...], found: tuple[int, ...]) -> str:
    if len(expected) == len(found) and len(expected) > 0:
        return f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(found)}"
    return f"Expecting shape {_shape(expected)} but got: {_shape(found)}"


def _columns(inputs: Any, dtypes: Dtypes) -> dict[str, Array]:
    if _is_object(inputs) and not (len(dtypes) == 1 and "b64" in inputs):
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
    shape: list[int] = []
    probe = value
    while isinstance(probe, list):
        shape.append(len(probe))
        if not probe:
            break
        probe = probe[0]
    flat: list[Any] = []
    _collect(value, tuple(shape), dtype, flat)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.kind == "O":
            filled = np.empty(len(flat), dtype=object)
            filled[:] = flat
            return filled.reshape(shape)
        return np.array(flat).astype(dtype).reshape(shape) if flat else np.zeros(shape, dtype)


def _collect(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], flat: list[Any]) -> None:
    if not isinstance(value, list):
        if shape:
            raise _wrong(f"Expecting shape {_shape(shape)} but got: []")
        flat.append(_element(value, dtype))
        return
    if not shape:
        raise _wrong(f"Encountered list at unexpected size: {len(value)} level: 0 expected size: 0")
    if len(value) != shape[0]:
        raise _wrong(f"Expecting tensor size: {shape[0]} but got: {len(value)}")
    for inner in value:
        _collect(inner, shape[1:], dtype, flat)


def _element(value: Any, dtype: np.dtype[Any]) -> Any:
    kind = dtype.kind
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "f" and number:
        return float(value)
    if kind in "iu" and number and isinstance(value, int):
        if (kind == "i" and dtype.itemsize >= 4) or (kind == "u" and dtype.itemsize >= 4):
            limits = np.iinfo(dtype)
            if not int(limits.min) <= value <= int(limits.max):
                raise _wrong(_type_words(value, dtype))
        return value
    if kind == "b" and isinstance(value, bool):
        return value
    if dtype.kind == "O" and isinstance(value, str):
        return value.encode("utf-8", errors="surrogateescape")
    if dtype.kind == "O" and isinstance(value, dict) and value.keys() == {"b64"}:
        return _decoded(value["b64"])
    if kind not in "fiub" and dtype.kind != "O":
        raise Failed("UNIMPLEMENTED", f"Conversion of JSON Value: {_shown(value)} to type: {dtype.name}")
    raise _wrong(_type_words(value, dtype))


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise _wrong(f"JSON Value: {_shown({'b64': text})} not formatted correctly for base64 data")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(f"Unable to base64 decode: {text}") from error


def _type_words(value: Any, dtype: np.dtype[Any]) -> str:
    kinds: tuple[tuple[type, str], ...] = ((str, "String"), (dict, "Object"), (list, "Array"), (type(None), "Null"))
    found = ("True" if value else "False") if isinstance(value, bool) else "Number"
    found = next((name for kind, name in kinds if isinstance(value, kind)), found)
    return f"JSON Value: {_shown(value)} Type: {found} is not of expected type: {_NAMES.get(dtype.name, dtype.name)}"


def _plain(name: str, array: Array) -> Any:
    """An output as nested lists; strings of an alias that ends with ``_bytes`` as base64."""
    if array.dtype.kind == "O":
        binary = name.endswith("_bytes")
        flat = [_string(value, binary) for value in array.ravel()]
        plain = np.empty(len(flat), dtype=object)
        plain[:] = flat
        return plain.reshape(array.shape).tolist()
    if array.dtype.kind == "f":
        flat_text = [_Number(_float_text(value)) for value in array.ravel()]
        numbers = np.empty(len(flat_text), dtype=object)
        numbers[:] = flat_text
        return numbers.reshape(array.shape).tolist()
    return array.tolist()


class _Number(str):
    """A number as it is to be written."""

    __slots__ = ()


def _float_text(value: Any) -> str:
    """Six digits if they are the number, else as many as it needs; whole numbers get ``.0`` (util/json_tensor.cc)."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    kind = type(value)
    short = f"{value:.6g}"
    text = short if kind(short) == value else f"{value:.{9 if value.dtype.itemsize <= 4 else 17}g}"
    return text if any(mark in text for mark in ".en") else text + ".0"


def _string(value: Any, binary: bool) -> Any:
    raw = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(raw).decode()} if binary else raw.decode("utf-8", errors="surrogateescape")


def _row_text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_row_text(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _column_text(value: Any, indent: int) -> str:
    if isinstance(value, _Number):
        return str(value)
    inner = " " * (indent + 4)
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _column_text(v, indent + 4) for v in value) + "\n" + " " * indent + "]"
    if isinstance(value, dict) and value:
        items = (f"{inner}{json.dumps(key)}: {_column_text(item, indent + 4)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    return json.dumps(value, ensure_ascii=False)


def _shown(value: Any, indent: int = 0) -> str:
    """A value as the original repeats it: objects over several lines, arrays in one."""
    if isinstance(value, dict) and value:
        inner = " " * (indent + 4)
        items = (f"{inner}{json.dumps(key, ensure_ascii=False)}: {_shown(v, indent + 4)}" for key, v in value.items())
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item, indent) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _is_object(value: Any) -> bool:
    """A one-key ``{"b64": …}`` is a value."""
    return isinstance(value, dict) and not (len(value) == 1 and "b64" in value)


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

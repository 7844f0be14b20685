"""Output arrays as the JSON of a predict answer, laid out as the original lays it out (util/json_tensor.cc)."""

from __future__ import annotations

import array as memory
import base64
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.dtype_names import name_of
from tfsdeploy.server.json_document import quoted

Array = np.ndarray[Any, Any]
Format = Literal["row", "column"]

_BLOCK = 2**16
"""Numbers."""

_WHOLE = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"})


def render(outputs: Mapping[str, Array], form: Format) -> str:
    """A predict answer.

    Args:
        outputs: by alias.
        form: rows (``predictions``) or columns (``outputs``).

    Raises:
        Failed: INVALID_ARGUMENT: outputs of a row answer do not have one row an instance, or one has a dtype that is
            not written.
    """
    if form == "row":
        _check_rows(outputs)
    if form == "row" and len(outputs) == 1:
        (array,) = outputs.values()
        if array.size and array.dtype.char in "fd":
            rows = [_rows(float_texts(block), block.shape) for block in _blocks(array)]
            return '{\n    "predictions": [' + ", ".join(rows) + "\n    ]\n}"
    plain = {alias: _plain(alias, array) for alias, array in outputs.items()}
    single = next(iter(plain.values())) if len(plain) == 1 else None
    if form == "column":
        return "{\n" + f'    "outputs": {_column_text(plain if single is None else single, 1)}' + "\n}"
    if single is None:
        count = len(next(iter(plain.values())))
        rows = ["        " + _row_text({alias: rows[at] for alias, rows in plain.items()}, 2) for at in range(count)]
        return '{\n    "predictions": [' + ("\n" + ",\n".join(rows) + "\n    " if rows else "") + "]\n}"
    return (
        '{\n    "predictions": ['
        + ", ".join(_row_text(row, 2) for row in single)
        + ("\n    " if single else "")
        + "]\n}"
    )


def _blocks(array: Array) -> list[Array]:
    """Some rows at a time: each number takes ten times the memory while it is written."""
    rows = max(1, _BLOCK * len(array) // array.size)
    return [array[at : at + rows] for at in range(0, len(array), rows)]


def _rows(texts: list[str], shape: tuple[int, ...]) -> str:
    """Numbers, as they are to be written, by rows; the brackets around all of them are not there yet."""
    for size in shape[:0:-1]:
        texts = [f"[{', '.join(texts[at : at + size])}]" for at in range(0, len(texts), size)]
    return ", ".join(texts)


def _check_rows(outputs: Mapping[str, Array]) -> None:
    names = sorted(outputs)
    for name in names:
        if not outputs[name].ndim:
            raise _wrong(f"Tensor name: {name} has no shape information ")
    # The original starts with whichever output its hash map gives first, and names the first one that differs from it.
    expected = outputs[names[-1]].shape[0]
    for name in names:
        if outputs[name].shape[0] != expected:
            found = outputs[name].shape[0]
            raise _wrong(f"Tensor name: {name} has inconsistent batch size: {found} expecting: {expected}")


class _Number(str):
    """A number as it is to be written."""

    __slots__ = ()


def _plain(name: str, array: Array) -> Any:
    """An output as nested lists; strings of an alias that ends with ``_bytes`` as base64."""
    kind = array.dtype.kind
    if kind == "O":
        binary = name.endswith("_bytes")
        return _nested(array, [_string(value, binary) for value in array.ravel()])
    if array.dtype.char in "fd":
        return _nested(array, [_Number(text) for text in float_texts(array)])
    if array.dtype.name in _WHOLE or not array.size:
        return array.tolist()
    # Half, uint16 and complex numbers have no JSON in the original either.
    raise _wrong(f"Failed to write JSON value for tensor type: {name_of(array.dtype)}")


def _nested(array: Array, flat: list[Any]) -> Any:
    plain = np.empty(len(flat), dtype=object)
    plain[:] = flat
    return plain.reshape(array.shape).tolist()


def float_texts(array: Array) -> list[str]:
    """Of float32 or float64: six digits if they are the number, else as many as it needs; whole ones get ``.0``."""
    values = array.ravel().tolist()
    texts = [f"{value:.6g}" for value in values]
    again = memory.array(array.dtype.char, map(float, texts)).tolist()
    if again != values:
        digits = 9 if array.dtype.itemsize == 4 else 17
        texts = [
            text if same == value else f"{value:.{digits}g}"
            for text, same, value in zip(texts, again, values, strict=True)
        ]
    return [text if "." in text or "e" in text else _SPECIAL.get(text) or text + ".0" for text in texts]


_SPECIAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _string(value: Any, binary: bool) -> Any:
    raw = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(raw).decode()} if binary else raw.decode("utf-8", errors="surrogateescape")


def _row_text(value: Any, depth: int) -> str:
    """Arrays in one line, objects over several."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, list):
        return "[" + ", ".join([_row_text(item, depth + 1) for item in value]) + "]"
    return _object_text(value, depth, _row_text) if isinstance(value, dict) else quoted(value)


def _column_text(value: Any, depth: int) -> str:
    """Everything over several lines."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, list) and value:
        inner = " " * 4 * (depth + 1)
        items = ",\n".join([inner + _column_text(item, depth + 1) for item in value])
        return "[\n" + items + "\n" + " " * 4 * depth + "]"
    return _object_text(value, depth, _column_text) if isinstance(value, dict) else quoted(value)


def _object_text(value: Mapping[str, Any], depth: int, text_of: Any) -> str:
    inner = " " * 4 * (depth + 1)
    items = ",\n".join(f"{inner}{quoted(key)}: {text_of(item, depth + 1)}" for key, item in value.items())
    return "{\n" + items + "\n" + " " * 4 * depth + "}"


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

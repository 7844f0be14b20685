"""A REST request's JSON as RapidJSON reads it, and values as RapidJSON writes them."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from tfsdeploy.protocol import rest
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import grisu, json_reader

# Halves of surrogate pairs: Python takes them for characters.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(body: bytes) -> dict[str, Any]:
    """A request's JSON object; what follows the first value is ignored, as the original does.

    Raises:
        Failed: INVALID_ARGUMENT.
    """
    if not body:
        raise _wrong("JSON Parse error: The document is empty")
    document = _quickly(body)
    if document is None:
        try:
            document = json_reader.read(body)
        except json_reader.Refused as refused:
            raise _wrong(f"JSON Parse error: {refused}") from refused
        except RecursionError as error:
            raise _wrong("JSON Parse error: nested too deeply") from error
    if not isinstance(document, dict):
        raise _wrong(f"JSON Value: {shown(document)} Is not object")
    return document


def shown(value: Any, depth: int = 0) -> str:
    """A value as the original repeats it in an error: objects over several lines, arrays in one."""
    if isinstance(value, Mapping) and value:
        inner = " " * 4 * (depth + 1)
        items = (f"{inner}{quoted(key)}: {shown(item, depth + 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + "\n" + " " * 4 * depth + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown(item, depth + 1) for item in value) + "]"
    return quoted(value)


def quoted(value: Any) -> str:
    """A plain value in JSON; text stays as it is."""
    if isinstance(value, float) and math.isfinite(value):
        return _float_text(value)
    return rest.quoted(value) if isinstance(value, str) else json.dumps(value)


def _float_text(value: float) -> str:
    """A number without an exponent from 10^-6 up to 10^21, as RapidJSON writes it (rapidjson/internal/dtoa.h)."""
    if not value:
        return f"{value:.1f}"
    negative = value < 0
    digits, exponent = grisu.digits(abs(value))
    point = len(digits) + exponent
    if 0 < point <= 21:
        digits = digits.ljust(point, "0")
        text = f"{digits[:point]}.{digits[point:] or '0'}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + "." * (len(digits) > 1) + digits[1:] + f"e{point - 1}"
    return "-" + text if negative else text


def _quickly(body: bytes) -> Any:
    """What Python's own parser makes of a text; None if that might not be what RapidJSON makes of it."""
    if b"\\u" in body and _SURROGATE.search(body):
        return None
    document = _at_once(body)
    if document is not None:
        return document
    text = body.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        return _DECODER.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _at_once(body: bytes) -> dict[str, Any] | None:
    """What orjson makes of a text; None if that might not be what the parser below makes of it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict:
        return None
    names = len(document)
    for value in document.values():
        if type(value) is list and value and type(value[0]) is dict:
            names += sum(len(item) for item in value if type(item) is dict)
    # Of equal names its last one counts; then there are more colons than names.
    if body.count(b":") != names:
        return None
    # It leaves numbers below the normal ones as they are, which take three digits of exponent, or many zeros.
    if b"0" * 60 in body or ((b"e-" in body or b"E-" in body) and _MAYBE_TINY.search(body)):
        return None
    return document


def _float(token: str) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise ValueError(token)
    return value if abs(value) >= sys.float_info.min else 0.0 * value  # numbers below the normal ones are none there


def _int(token: str) -> int | float:
    """Integers beyond 64 bits are floating-point numbers, as for RapidJSON."""
    # Python refuses to convert integers of more than 4,300 digits.
    value = int(token) if len(token) < 40 else _float(token)
    return value if -(2**63) <= value < 2**64 else float(value)


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        document.setdefault(key, value)
    return document


_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins, parse_float=_float, parse_int=_int)
_MAYBE_TINY = re.compile(rb"[eE]-\d{3}")


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

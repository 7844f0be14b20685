"""A REST request's JSON, read as RapidJSON reads it: what it accepts, and its words for what it does not."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tfsdeploy.protocol.status import Failed

_LITERALS = ("null", "true", "false", "NaN", "Infinity", "-Infinity")

# What Python's parser says -> what RapidJSON says (rapidjson/error/en.h).
_WORDS = {
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid control character at": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_FRACTION = re.compile(r"\.(?![0-9])")
_EXPONENT = re.compile(r"[eE][+-]?(?![0-9])")
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def parse(body: bytes) -> dict[str, Any]:
    """A request's JSON object; what follows the first value is ignored, as the original does.

    Raises:
        Failed: INVALID_ARGUMENT.
    """
    if not body:
        raise _wrong("JSON Parse error: The document is empty")
    text = body.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if text[start : start + 1] in ("", "\0"):
        raise _wrong(f"JSON Parse error: The document is empty. at offset: {start}")
    decoder = json.JSONDecoder(object_pairs_hook=_first_wins, parse_float=_float, parse_int=_int)
    try:
        document, _ = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        words, at = _explained(text, error.msg, error.pos)
        raise _parse_error(text, words, at) from error
    except _TooBig as error:
        raise _parse_error(text, "Number too big to be stored in double.", text.find(error.token)) from error
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
    return json.dumps(value, ensure_ascii=False)


def _float_text(value: float) -> str:
    """A number without an exponent from 10^-6 up to 10^21, as RapidJSON writes it (rapidjson/internal/dtoa.h)."""
    negative, figures, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits = "".join(map(str, figures))
    point = len(digits) + int(exponent)
    if 0 < point <= 21:
        digits = digits.ljust(point, "0")
        text = f"{digits[:point]}.{digits[point:] or '0'}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + "." * (len(digits) > 1) + digits[1:] + f"e{point - 1}"
    return "-" + text if negative else text


class _TooBig(Exception):
    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token


def _float(token: str) -> float:
    value = float(token)
    if value in (float("inf"), float("-inf")):
        raise _TooBig(token)
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


def _explained(text: str, message: str, at: int) -> tuple[str, int]:
    if message in _WORDS:
        if message.startswith("Unterminated"):
            return _WORDS[message], len(text)
        return _WORDS[message], at
    if message == "Expecting ',' delimiter":
        if _FRACTION.match(text, at) and text[at - 1].isdigit():
            return "Miss fraction part in number.", at + 1
        if (exponent := _EXPONENT.match(text, at)) and text[at - 1].isdigit():
            return "Miss exponent in number.", exponent.end()
        if _inside(text, at) == "{":
            return "Missing a comma or '}' after an object member.", at
        return "Missing a comma or ']' after an array element.", at
    return "Invalid value.", at + _agreeing(text, at)


def _agreeing(text: str, at: int) -> int:
    """How far the text goes along with a literal that it is not: RapidJSON names the place after that."""
    length = 0
    for literal in _LITERALS:
        same = 0
        while same < len(literal) and text[at + same : at + same + 1] == literal[same]:
            same += 1
        length = max(length, same)
    return length


def _inside(text: str, at: int) -> str:
    """The bracket that is open at a place."""
    opened: list[str] = []
    for token in _TOKENS.findall(text, 0, at):
        if token in "[{":
            opened.append(token)
        elif token in "]}":
            opened.pop()
    return opened[-1] if opened else ""


def _parse_error(text: str, words: str, at: int) -> Failed:
    offset = len(text[:at].encode("utf-8", errors="surrogateescape"))
    return _wrong(f"JSON Parse error: {words} at offset: {offset}")


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

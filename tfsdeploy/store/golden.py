"""Golden requests: what a version is asked before it may serve, what it should answer, and how near is near enough."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tfsdeploy.errors import UsageError
from tfsdeploy.store.record import File, Record

FILES = ("golden.json", "assets.extra/golden.json")
"""Where they stand in a version's folder; the first that is there counts."""

LARGEST = 16 << 20
"""Bytes of the file: every request is sent to every replica."""

TOLERANCE = 1e-5

METHODS = ("predict", "classify", "regress")

_ANSWERS = ("predictions", "outputs", "results", "result", "error")


@dataclass(frozen=True, slots=True)
class Golden:
    """One request, and the answer that it must get.

    Attributes:
        method: of the REST API.
        body: the request's JSON.
        expected: the whole answer, or what stands under its only key.
        tolerance: how far a number may be off: as a part of the expected one, and of 1 for those that are smaller.
    """

    method: Literal["predict", "classify", "regress"]
    body: bytes
    expected: Any
    tolerance: float = TOLERANCE


class HasFiles(Protocol):
    """A store; see `tfsdeploy.store.store.Store`."""

    def content(self, record: Record, file: File) -> bytes:
        """One small file of a version."""


def beside(folder: Path) -> tuple[Golden, ...]:
    """The golden requests in a version's folder; empty if it has none.

    Raises:
        UsageError: the file cannot be understood.
        OSError: it cannot be read.
    """
    for name in FILES:
        if (folder / name).is_file():
            with (folder / name).open("rb") as stream:
                return parse(stream.read(LARGEST + 1), str(folder / name))
    return ()


def golden_of(store: HasFiles, record: Record) -> tuple[Golden, ...]:
    """The golden requests of a version in a store; empty if it has none.

    Raises:
        UsageError: the file cannot be understood.
        TfsdeployError: it cannot be read, or its bytes are not those of the commit record.
    """
    file = file_in(record)
    if file is None:
        return ()
    if file.size > LARGEST:
        raise UsageError(f"{file.path} has more than {LARGEST} bytes", where=f"{record.model}/{record.version}")
    return parse(store.content(record, file), f"{record.model}/{record.version}/{file.path}")


def file_in(record: Record) -> File | None:
    """The file of a version that holds its golden requests."""
    named = {file.path: file for file in record.files}
    return next((named[name] for name in FILES if name in named), None)


def parse(content: bytes, where: str) -> tuple[Golden, ...]:
    """The golden requests of a file: one object or a list of them.

    Args:
        content: ``{"request": {...}, "expected": ..., "tolerance": 1e-5, "method": "predict"}``; the last two may be
            left out.
        where: the file, for messages.

    Raises:
        UsageError: it is none; says what is wrong where.
    """
    hint = 'write {"request": {"instances": [...]}, "expected": {"predictions": [...]}, "tolerance": 1e-5}, or a list'
    if len(content) > LARGEST:
        hint = "fewer or smaller requests: each is sent to every replica"
        raise UsageError(f"it has more than {LARGEST} bytes", where=where, hint=hint)
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no JSON: {error}", where=where, hint=hint) from error
    requests = plain if isinstance(plain, list) else [plain]
    if not requests:
        raise UsageError("it holds no request", where=where, hint=hint)
    found = []
    for number, request in enumerate(requests):
        wrong = _wrong(request)
        if wrong:
            raise UsageError(f"golden request {number}: {wrong}", where=where, hint=hint)
        body = json.dumps(request["request"]).encode()
        method = request.get("method", "predict")
        found.append(Golden(method, body, request["expected"], float(request.get("tolerance", TOLERANCE))))
    return tuple(found)


def _wrong(request: Any) -> str | None:
    if not isinstance(request, dict):
        return "it is no object"
    unknown = sorted(request.keys() - {"request", "expected", "tolerance", "method"})
    if unknown:
        return f"unknown key {unknown[0]!r}"
    if not isinstance(request.get("request"), dict):
        return "`request` must be the object that is sent"
    if "expected" not in request:
        return "`expected` is missing"
    if request.get("method", "predict") not in METHODS:
        return f"`method` must be one of {', '.join(METHODS)}"
    tolerance = request.get("tolerance", TOLERANCE)
    if not _is_number(tolerance) or not 0 <= tolerance <= sys.float_info.max:
        return "`tolerance` must be a number, 0 or more"
    return None


def difference(golden: Golden, status: int, body: bytes) -> str | None:
    """What is wrong with the answer to a golden request, or None.

    Args:
        golden: the request.
        status: HTTP status of the answer.
        body: of the answer.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return f"HTTP {status}: {body[:300].decode(errors='replace')}"
    if status != 200:
        words = answer.get("error") if isinstance(answer, dict) else None
        return f"HTTP {status}: {words or body[:300].decode(errors='replace')}"
    expected, name = golden.expected, ""
    if isinstance(answer, dict) and len(answer) == 1 and not _is_whole(expected):
        ((name, answer),) = answer.items()
    try:
        return _differs(name, expected, answer, golden.tolerance)
    except RecursionError:
        return "the answer is too deep to be compared"


def _is_whole(expected: Any) -> bool:
    return isinstance(expected, dict) and len(expected) == 1 and next(iter(expected)) in _ANSWERS


def _differs(at: str, expected: Any, found: Any, tolerance: float) -> str | None:
    """The first place where two JSON values differ by more than is allowed."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{at or 'the answer'} has {sorted(found)}, expected {sorted(expected)}"
        pairs = [(f"{at}.{key}" if at else str(key), expected[key], found[key]) for key in expected]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{at or 'the answer'} has {len(found)} elements, expected {len(expected)}"
        pairs = [(f"{at}[{n}]", a, b) for n, (a, b) in enumerate(zip(expected, found, strict=True))]
    else:
        if _equal(expected, found, tolerance):
            return None
        shown = f" (tolerance {tolerance:g})" if _is_number(expected) and _is_number(found) else ""
        return f"{at or 'the answer'} is {_short(found)}, expected {_short(expected)}{shown}"
    return next((wrong for pair in pairs if (wrong := _differs(*pair, tolerance)) is not None), None)


def _equal(expected: Any, found: Any, tolerance: float) -> bool:
    if not (_is_number(expected) and _is_number(found)):
        return type(expected) is type(found) and bool(expected == found)
    try:
        if not (math.isfinite(expected) and math.isfinite(found)):
            return bool(expected == found) or (math.isnan(expected) and math.isnan(found))
        return bool(abs(expected - found) <= tolerance * max(1.0, abs(expected)))
    except OverflowError:
        # JSON knows integers that no float can hold.
        return bool(expected == found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

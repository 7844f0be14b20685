"""TF Serving's REST grammar: paths in, what is asked for out; model status in JSON, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from tfsdeploy.protocol.status import Failed

MAX_INT64 = 2**63 - 1

Action = Literal["predict", "classify", "regress", "status", "metadata"]

# model_servers/http_rest_api_util.cc; the path is matched whole, query string included. Letters match in any case, but
# the words for an action are then compared exactly.
_MODEL = r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(_MODEL + r":(?P<action>(?-i:predict|classify|regress))\Z", re.IGNORECASE)
_STATUS = re.compile(_MODEL + r"(?P<metadata>/metadata)?\Z", re.IGNORECASE)

_CONTROL = re.compile(r"(?<!\\)((?:\\\\)*)\\u00([01][a-f])")

# What the original's Protobuf escapes although JSON does not ask for it (json/internal/writer.cc).
_PROTOBUF = str.maketrans({"<": "\\u003c", ">": "\\u003e", "\x7f": "\\u007f"})


@dataclass(frozen=True, slots=True)
class Request:
    """What a path asks for; at most one of version and label is given."""

    action: Action
    model: str
    version: int | None
    label: str | None


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One version in a model status: its state (START, LOADING, AVAILABLE, UNLOADING, END) and its error, if any."""

    version: int
    state: str
    code: str = "OK"
    message: str = ""


def parse(method: str, path: str) -> Request:
    """What a request asks for.

    Raises:
        Failed: INVALID_ARGUMENT, in the words of TF Serving; with an empty message for a version beyond int64.
    """
    if method == "POST" and (match := _INFERENCE.match(path)):
        action: Action = match["action"]  # type: ignore[assignment]
    elif method == "GET" and (match := _STATUS.match(path)):
        action = "metadata" if match["metadata"] == "/metadata" else "status"
    elif method == "GET" and path.lower() == "/v1/models":
        raise Failed("INVALID_ARGUMENT", "Missing model name in request.")
    else:
        raise Failed("INVALID_ARGUMENT", f"Malformed request: {method} {path}")
    digits = (match["version"] or "").lstrip("0")
    # Python reads no number of thousands of digits.
    if len(digits) > 19 or int(digits or "0") > MAX_INT64:
        raise Failed("INVALID_ARGUMENT", "")
    version = int(digits or "0") if match["version"] else None
    return Request(action, unquote(match["model"]), version, unquote(match["label"]) if match["label"] else None)


def error_body(message: str) -> str:
    """An error as the REST API words it; empty for an empty message."""
    return f'{{\n    "error": {quoted(message)}\n}}' if message else ""


def quoted(text: str) -> str:
    """A JSON string as RapidJSON writes it: what has no short escape in capitals, the rest as it is."""
    plain = json.dumps(text, ensure_ascii=False)
    return _CONTROL.sub(lambda found: f"{found[1]}\\u00{found[2].upper()}", plain) if "\\u" in plain else plain


def render_model_status(rows: Iterable[StatusRow]) -> str:
    """A model's status as TF Serving prints it (proto3 JSON, one space of indent)."""
    plain = [
        {
            "version": str(row.version),
            "state": row.state,
            "status": {"error_code": row.code, "error_message": row.message},
        }
        for row in rows
    ]
    return proto_json({"model_version_status": plain})


def proto_json(plain: Any) -> str:
    """A message in JSON, as TF Serving's Protobuf prints it."""
    return json.dumps(plain, indent=1, ensure_ascii=False).translate(_PROTOBUF) + "\n"


def parse_model_status(body: bytes | str) -> tuple[StatusRow, ...]:
    """The rows of a model's status.

    Raises:
        ValueError: the body is none.
    """
    try:
        rows = json.loads(body)["model_version_status"]
        return tuple(StatusRow(int(row["version"]), str(row["state"]), *_status(row.get("status", {}))) for row in rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a model status: {type(error).__name__}: {error}") from error


def _status(plain: dict[str, str]) -> tuple[str, str]:
    return str(plain.get("error_code", "OK")), str(plain.get("error_message", ""))

"""TF Serving's REST grammar: paths in, what is asked for out; model status in JSON, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from tfsdeploy.protocol.status import Failed

MAX_INT64 = 2**63 - 1

Action = Literal["predict", "classify", "regress", "status", "metadata"]

# model_servers/http_rest_api_util.cc; the path is matched whole, query string included. Letters match in any case, but
# the words for an action are then compared exactly.
_MODEL = r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(_MODEL + r":(?P<action>(?-i:predict|classify|regress))\Z", re.IGNORECASE)
_STATUS = re.compile(_MODEL + r"(?P<metadata>/metadata)?\Z", re.IGNORECASE)


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
    version = int(match["version"]) if match["version"] else None
    if version is not None and version > MAX_INT64:
        raise Failed("INVALID_ARGUMENT", "")
    return Request(action, unquote(match["model"]), version, unquote(match["label"]) if match["label"] else None)


def error_body(message: str) -> str:
    """An error as the REST API words it; empty for an empty message."""
    return json.dumps({"error": message}, indent=4, ensure_ascii=False) if message else ""


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
    return json.dumps({"model_version_status": plain}, indent=1, ensure_ascii=False) + "\n"


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

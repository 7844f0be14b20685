"""Status codes of TF Serving: canonical names, their gRPC numbers and the HTTP codes that its REST API gives them."""

from __future__ import annotations

from typing import Final

# google/rpc/code.proto; HTTP codes: model_servers/http_server.cc, ToHTTPStatusCode.
_CODES: Final = {
    "OK": (0, 200),
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "DATA_LOSS": (15, 500),
    "UNAUTHENTICATED": (16, 401),
}
_NAMES: Final = {number: name for name, (number, _) in _CODES.items()}

# model_servers/grpc_status_util.cc
GRPC_MESSAGE_LIMIT: Final = 1024


class Failed(Exception):
    """A request or a load that failed, as TF Serving words it.

    Args:
        code: a canonical code, such as ``NOT_FOUND``.
        message: for the client.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def http_code(code: str) -> int:
    """The HTTP code of a canonical code."""
    return _CODES[code][1]


def grpc_number(code: str) -> int:
    """The gRPC number of a canonical code."""
    return _CODES[code][0]


def code_of(number: int) -> str:
    """The canonical code of a gRPC number; UNKNOWN for one that does not exist."""
    return _NAMES.get(number, "UNKNOWN")


def grpc_message(message: str) -> str:
    """An error text as gRPC clients get it: cut at 1,024 characters."""
    return message if len(message) <= GRPC_MESSAGE_LIMIT else message[:GRPC_MESSAGE_LIMIT] + "...TRUNCATED"

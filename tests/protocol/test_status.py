"""Status codes: names, gRPC's own numbers, and the HTTP codes of the original."""

from __future__ import annotations

import grpc
import pytest

from tfsdeploy.protocol.status import GRPC_MESSAGE_LIMIT, code_of, grpc_message, grpc_number, http_code

# model_servers/http_server.cc, ToHTTPStatusCode
HTTP = {
    "OK": 200, "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}  # fmt: skip


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_every_code_of_grpc_has_its_number_and_its_http_code(code: grpc.StatusCode) -> None:
    number = code.value[0]  # type: ignore[index]
    assert grpc_number(code.name) == number
    assert code_of(number) == code.name
    assert http_code(code.name) == HTTP[code.name]


@pytest.mark.parametrize("number", [-1, 17, 1000])
def test_a_number_that_is_no_code_is_unknown(number: int) -> None:
    assert code_of(number) == "UNKNOWN"


def test_long_error_texts_are_cut_for_grpc_as_the_original_cuts_them() -> None:
    exact, longer = "x" * GRPC_MESSAGE_LIMIT, "x" * (GRPC_MESSAGE_LIMIT + 1)
    assert grpc_message(exact) == exact
    assert grpc_message(longer) == "x" * 1024 + "...TRUNCATED"
    assert grpc_message("") == ""

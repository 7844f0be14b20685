"""What the gateway does with REST requests: real Envoy, real back ends."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.gateway.conftest import LARGE
from tests.gateway.harness import Gateway

ANSWERED = [
    ("POST", "/v1/models/one:predict", f"/v1/models/one/versions/{LARGE}:predict"),
    ("POST", "/v1/models/one:classify", f"/v1/models/one/versions/{LARGE}:classify"),
    ("POST", "/v1/models/one:regress", f"/v1/models/one/versions/{LARGE}:regress"),
    ("GET", "/v1/models/one/metadata", f"/v1/models/one/versions/{LARGE}/metadata"),
    ("POST", f"/v1/models/one/versions/{LARGE}:predict", f"/v1/models/one/versions/{LARGE}:predict"),
    ("POST", "/v1/models/m/versions/9:predict", "/v1/models/m/versions/9:predict"),
    ("POST", "/v1/models/m/versions/009:predict", "/v1/models/m/versions/9:predict"),
    ("GET", "/v1/models/m/versions/8/metadata", "/v1/models/m/versions/8/metadata"),
    ("POST", "/v1/models/m/labels/canary:predict", "/v1/models/m/versions/8:predict"),
    ("GET", "/v1/models/m/labels/stable/metadata", "/v1/models/m/versions/7/metadata"),
    ("POST", "/v1/models/half-plus_two:predict", "/v1/models/half-plus_two/versions/2:predict"),
    ("POST", "/v1/models/half%2Dplus%5ftwo:predict", "/v1/models/half-plus_two/versions/2:predict"),
    ("POST", "/V1/Models/one:PREDICT", f"/v1/models/one/versions/{LARGE}:predict"),
    ("POST", "/v1/models/one:predict?key=a/b:c@d", f"/v1/models/one/versions/{LARGE}:predict"),
    ("POST", "/v1/models/m/labels/canary:predict?x=/versions/7:predict", "/v1/models/m/versions/8:predict"),
    ("POST", "/v1/models/x/../one:predict", f"/v1/models/one/versions/{LARGE}:predict"),
    ("GET", "/v1/models/m", "/v1/models/m"),
    ("GET", "/v1/models/m/versions/8", "/v1/models/m/versions/8"),
    ("GET", "/v1/models/m/labels/canary", "/v1/models/m"),
    ("GET", "/v1/models/early", "/v1/models/early"),
]

HUGE = 2**63
IMPATIENT = {"x-envoy-upstream-rq-timeout-ms": "1", "x-sleep": "0.1"}
BOTH = "Malformed request: POST /v1/models/m/versions/7/labels/x:predict"

REFUSED = [
    ("POST", "/v1/models/nobody:predict", 404, "Servable not found for request: Latest(nobody)"),
    ("POST", "/v1/models/m/versions/6:predict", 404, "Servable not found for request: Specific(m, 6)"),
    ("POST", f"/v1/models/m/versions/{HUGE}:predict", 400, f"Failed to convert version: {HUGE} to numeric."),
    ("POST", "/v1/models/m/labels/nope:predict", 400, "Unrecognized servable version label: nope"),
    ("POST", "/v1/models/m/labels/no%22pe:predict", 400, 'Unrecognized servable version label: no"pe'),
    ("GET", "/v1/models/nobody", 404, "Could not find any versions of model nobody"),
    ("POST", "/v1/models/m%2F8:predict", 404, "Servable not found for request: Latest(m/8)"),
    ("POST", "/v1/models/m%40canary:predict", 404, "Servable not found for request: Latest(m@canary)"),
    ("POST", "/v1/models/%22x%0a:predict", 404, 'Servable not found for request: Latest("x\n)'),
    ("POST", "/v1/models/gone:predict", 503, "no healthy upstream"),
    ("POST", "/v1/models/gone/versions/1:predict", 503, "no healthy upstream"),
    ("POST", "/v1/models/gone/labels/stable:predict", 503, "no healthy upstream"),
    ("POST", "/v1/models/early:predict", 503, "no version of the model is served yet"),
    ("POST", "/v1/models/m/labels/lost:predict", 503, "no replica has the version"),
    ("GET", "/v1/models", 400, "Missing model name in request."),
    ("GET", "/", 404, "Malformed request: GET /"),
    ("GET", "/v2/models/m", 404, "Malformed request: GET /v2/models/m"),
    ("POST", "/v1/models/m:explode", 404, "Malformed request: POST /v1/models/m:explode"),
    ("POST", "/v1/models/m/versions/abc:predict", 404, "Malformed request: POST /v1/models/m/versions/abc:predict"),
    ("POST", "/v1/models/m/versions/7/labels/x:predict", 404, BOTH),
    ("POST", "/unversioned/m:predict", 404, "Malformed request: POST /unversioned/m:predict"),
    ("GET", "/v1/models/m:predict", 400, "Malformed request: GET /v1/models/m:predict"),
    ("DELETE", "/v1/models/m", 400, "Malformed request: DELETE /v1/models/m"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "forwarded"), ANSWERED)
def test_forwarded_path(running: Gateway, method: str, path: str, forwarded: str) -> None:
    status, answer = running.rest(method, path, b"{}" if method == "POST" else None)
    assert (status, answer["path"], answer["method"]) == (200, forwarded, method)
    assert "x-tfs-route" not in [name.lower() for name in answer["headers"]]


@pytest.mark.parametrize(("method", "path", "status", "message"), REFUSED)
def test_refusals_have_the_servers_words(running: Gateway, method: str, path: str, status: int, message: str) -> None:
    assert running.rest(method, path, b"{}" if method == "POST" else None) == (status, {"error": message})


def test_head_gets_no_body_and_no_model(running: Gateway) -> None:
    assert running.rest("HEAD", "/v1/models/m") == (400, None)


def test_weights(running: Gateway) -> None:
    served = Counter(running.rest("POST", "/v1/models/m:predict", b"{}")[1]["path"] for _ in range(400))
    assert set(served) == {"/v1/models/m/versions/7:predict", "/v1/models/m/versions/8:predict"}
    # A binomial with n = 400, p = 0.1 is outside once in a million times.
    assert 14 <= served["/v1/models/m/versions/8:predict"] <= 72


@pytest.mark.parametrize(
    ("path", "headers", "forwarded"),
    [
        ("/v1/models/m:predict", {"x-tfs-version": "8"}, "/v1/models/m/versions/8:predict"),
        ("/v1/models/m:predict", {"x-tfs-version": "009"}, "/v1/models/m/versions/9:predict"),
        ("/v1/models/m/versions/7:predict", {"x-tfs-version": "8"}, "/v1/models/m/versions/7:predict"),
        ("/v1/models/m/labels/stable:predict", {"x-tfs-version": "8"}, "/v1/models/m/versions/7:predict"),
        ("/v1/models/m/versions/7:predict", {"x-tfs-route": "m/8"}, "/v1/models/m/versions/7:predict"),
        ("/v1/models/one:predict", {"x-tfs-route": "m/any"}, f"/v1/models/one/versions/{LARGE}:predict"),
        ("/v1/models/m/versions/9:predict", IMPATIENT, "/v1/models/m/versions/9:predict"),
    ],
)  # fmt: skip
def test_headers_pin_but_never_steer_inside(
    running: Gateway, path: str, headers: dict[str, str], forwarded: str
) -> None:
    status, answer = running.rest("POST", path, b"{}", headers)
    assert (status, answer["path"]) == (200, forwarded)


@pytest.mark.parametrize("value", ["any", "-1", "", "7/../8", "7@x", "1" * 30])
def test_a_pin_that_is_no_version(running: Gateway, value: str) -> None:
    status, answer = running.rest("POST", "/v1/models/m:predict", b"{}", {"x-tfs-version": value})
    assert (status, answer) == (400, {"error": f"Failed to convert version: {value} to numeric."})


def test_readiness_is_answered_by_envoy(running: Gateway) -> None:
    assert running.rest("GET", "/readyz") == (200, None)


@pytest.mark.parametrize("code", [400, 404, 500])
def test_model_errors_pass(running: Gateway, code: int) -> None:
    status, answer = running.rest("POST", "/v1/models/m/versions/7:predict", b"{}", {"x-fail": str(code)})
    assert (status, answer["path"]) == (code, "/v1/models/m/versions/7:predict")

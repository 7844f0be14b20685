"""The REST skin without a socket: paths, methods, codes, and the pages that are not the API's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.arrays import core_of, half_plus_two
from tfsdeploy.protocol.rest import Request, StatusRow, parse, parse_model_status, render_model_status
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.metrics import MOST_SERIES, OTHERS, Asked, Metrics
from tfsdeploy.server.rest import Reply, Rest

NOT_FOUND = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"

PATHS: list[tuple[str, str, Request]] = [
    ("GET", "/v1/models/m", Request("status", "m", None, None)),
    ("GET", "/V1/Models/M", Request("status", "M", None, None)),
    ("GET", "/v1/models/m/versions/7", Request("status", "m", 7, None)),
    ("GET", "/v1/models/m/versions/007", Request("status", "m", 7, None)),
    ("GET", "/v1/models/m/versions/9223372036854775807", Request("status", "m", 2**63 - 1, None)),
    ("GET", "/v1/models/m/labels/stable", Request("status", "m", None, "stable")),
    ("GET", "/v1/models/m/labels/%73table", Request("status", "m", None, "stable")),
    ("GET", "/v1/models/m/metadata", Request("metadata", "m", None, None)),
    ("GET", "/v1/models/m/versions/7/metadata", Request("metadata", "m", 7, None)),
    ("GET", "/v1/models/m/labels/a%2Fb/metadata", Request("metadata", "m", None, "a/b")),
    ("GET", "/v1/models/m?x=1", Request("status", "m?x=1", None, None)),
    ("POST", "/v1/models/m:predict", Request("predict", "m", None, None)),
    ("POST", "/v1/models/m/versions/7:classify", Request("classify", "m", 7, None)),
    ("POST", "/v1/models/m/labels/l:regress", Request("regress", "m", None, "l")),
    ("POST", "/v1/models/we%20ird.n%C3%A4me:predict", Request("predict", "we ird.näme", None, None)),
    ("POST", "/v1/models/sl%2Fash:predict", Request("predict", "sl/ash", None, None)),
]

# Measured on the original: the grammar refuses these as a whole, whichever part of them is wrong.
MALFORMED = [
    ("GET", "/v1/foo"), ("GET", "/v1/models/"), ("GET", "/v1/models/m/"), ("GET", "/v1/models/m/foo"),
    ("GET", "/v1/models/m/versions/HELLO"), ("GET", "/v1/models/m/versions/-1"), ("GET", "/v1/models/m/labels/"),
    ("GET", "/v1/models/m/versions/1/labels/l"), ("GET", "/v1/models/m:predict"), ("GET", "/v1/models/m/metadata/x"),
    ("POST", "/v1/models/m"), ("POST", "/v1/models/m:Predict"), ("POST", "/v1/models/m:predict?a=b"),
    ("POST", "/v1/models/m:predict:predict"), ("POST", "/v1/models/m:"), ("POST", "/v1/models/m%3Apredict"),
    ("POST", "/v1/models/:predict"), ("POST", "/v1/models/m:multi_inference"), ("POST", "/v1/models/m/metadata"),
    ("POST", "/v1/models/m/labels/sta:ble:predict"), ("PUT", "/v1/models/m:predict"), ("DELETE", "/v1/models/m"),
    ("HEAD", "/v1/models/m"), ("GET", "/v1/foo?of=http://host/v1"),
]  # fmt: skip


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    core = core_of({"half": {1: half_plus_two(), 2: half_plus_two()}})
    core.labels = {"half": {"stable": 1, "gone": 9}}
    yield Rest(core, Metrics())
    core.manager.close()


def predict(rest: Rest, path: str, body: bytes = b'{"instances":[1.0]}', **headers: str) -> tuple[int, Any]:
    """A predict request's code and answer."""
    reply = rest.handle("POST", path, {name.lower().replace("_", "-"): value for name, value in headers.items()}, body)
    return reply.code, json.loads(reply.body)


@pytest.mark.parametrize(("method", "path", "expected"), PATHS)
def test_a_path_says_what_is_asked(method: str, path: str, expected: Request) -> None:
    assert parse(method, path) == expected


@pytest.mark.parametrize(("method", "path"), MALFORMED)
def test_any_other_path_is_malformed(rest: Rest, method: str, path: str) -> None:
    reply = rest.handle(method, path, {})
    assert (reply.code, json.loads(reply.body)) == (400, {"error": f"Malformed request: {method} {path}"})


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/models/m", "/healthz", "/monitoring/prometheus/metrics", "*", "http://h/v1/x"]
)
def test_what_is_not_the_apis_is_a_page_of_the_http_server(rest: Rest, path: str) -> None:
    assert rest.handle("GET", path, {}) == Reply(404, NOT_FOUND, "text/html", {"Connection": "close"})


@given(st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "BREW"]), st.text(max_size=30), st.binary(max_size=20))
def test_every_request_is_answered(rest: Rest, method: str, tail: str, body: bytes) -> None:
    for path in (f"/v1/models/{tail}", f"/{tail}", tail):
        assert rest.handle(method, path, {}, body).code in (200, 400, 404, 501)


@pytest.mark.parametrize(
    ("path", "code", "answer"),
    [
        ("/v1/models/half:predict", 200, {"predictions": [2.5]}),
        ("/v1/models/half/versions/1:predict", 200, {"predictions": [2.5]}),
        ("/v1/models/half/labels/stable:predict", 200, {"predictions": [2.5]}),
        ("/v1/models/none:predict", 404, {"error": "Servable not found for request: Latest(none)"}),
        ("/v1/models/half/versions/3:predict", 404, {"error": "Servable not found for request: Specific(half, 3)"}),
        ("/v1/models/half/labels/gone:predict", 404, {"error": "Servable not found for request: Specific(half, 9)"}),
        ("/v1/models/half/labels/new:predict", 400, {"error": "Unrecognized servable version label: new"}),
    ],
)
def test_predict_goes_to_the_version_that_is_meant(rest: Rest, path: str, code: int, answer: Any) -> None:
    assert predict(rest, path) == (code, answer)


def test_a_body_is_read_before_a_version_is_looked_for(rest: Rest) -> None:
    assert predict(rest, "/v1/models/none:predict", b"bad json") == (
        400, {"error": "JSON Parse error: Invalid value. at offset: 0"},
    )  # fmt: skip
    assert predict(rest, "/v1/models/half:predict", b'{"signature_name":"nosig","instances":[1.0]}') == (
        400, {"error": 'Serving signature name: "nosig" not found in signature def'},
    )  # fmt: skip


def test_a_version_beyond_int64_is_refused_without_a_word(rest: Rest) -> None:
    for version in ("9223372036854775808", "9" * 5000):
        assert rest.handle("GET", f"/v1/models/half/versions/{version}", {}) == Reply(400, "")
    assert rest.handle("GET", f"/v1/models/half/versions/{'0' * 5000}1", {}).code == 200


def test_there_is_no_list_of_models(rest: Rest) -> None:
    reply = rest.handle("GET", "/v1/models", {})
    assert (reply.code, json.loads(reply.body)) == (400, {"error": "Missing model name in request."})


def test_bodies_are_inflated_when_the_header_has_gzip_in_it(rest: Rest) -> None:
    body = gzip.compress(b'{"instances":[1.0]}')
    path = "/v1/models/half:predict"
    for name in ("gzip", "x-gzip", "identity, gzip"):
        assert predict(rest, path, body, Content_Encoding=name) == (200, {"predictions": [2.5]})
    empty = (400, {"error": "JSON Parse error: The document is empty"})
    assert predict(rest, path, body[:-5], Content_Encoding="gzip") == empty
    assert predict(rest, path, b"no gzip", Content_Encoding="gzip") == empty
    for other in ("GZIP", "deflate", ""):
        assert predict(rest, path, b'{"instances":[1.0]}', Content_Encoding=other)[0] == 200


@pytest.mark.parametrize(
    ("origin", "code"), [("https://a.example", 200), ("x http://", 200), ("HTTP://a", 400), ("a", 400), (None, 400)]
)
@pytest.mark.parametrize("cors", [True, False])
def test_a_browsers_first_question_is_answered_by_its_origin(
    rest: Rest, origin: str | None, code: int, cors: bool
) -> None:
    asked = Rest(rest._core, Metrics(), cors=cors)
    reply = asked.handle("OPTIONS", "/v1/models/half:predict", {"origin": origin} if origin else {})
    assert (reply.code, reply.body, reply.content_type) == (code, "", "")
    assert dict(reply.headers) == (
        {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "POST, GET",
            "Access-Control-Allow-Headers": "Content-Type",
        }
        if cors
        else {}
    )
    assert dict(asked.handle("GET", "/v1/models/half", {}).headers) == dict(reply.headers)


def test_status_is_told_as_the_original_tells_it(rest: Rest) -> None:
    reply = rest.handle("GET", "/v1/models/half/versions/2", {})
    assert reply == Reply(
        200,
        '{\n "model_version_status": [\n  {\n   "version": "2",\n   "state": "AVAILABLE",\n   "status": {\n'
        '    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n',
    )
    every = parse_model_status(rest.handle("GET", "/v1/models/half", {}).body)
    assert every == (StatusRow(2, "AVAILABLE"), StatusRow(1, "AVAILABLE"))
    assert parse_model_status(rest.handle("GET", "/v1/models/half/labels/anything", {}).body) == every
    for path, words in {
        "/v1/models/half/versions/3": "Could not find version 3 of model half",
        "/v1/models/none": "Could not find any versions of model none",
    }.items():
        refused = rest.handle("GET", path, {})
        assert (refused.code, json.loads(refused.body)) == (404, {"error": words})


ROWS = st.builds(
    StatusRow, st.integers(0, 2**63 - 1), st.sampled_from(["LOADING", "AVAILABLE", "END"]),
    st.sampled_from(["OK", "NOT_FOUND"]), st.text(),
)  # fmt: skip


@given(st.lists(ROWS))
def test_a_status_is_read_as_it_was_written(rows: list[StatusRow]) -> None:
    assert parse_model_status(render_model_status(rows)) == tuple(rows)


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "{}", "null", '{"model_version_status": 1}', '{"model_version_status": [{}]}',
     '{"model_version_status": [{"version": "x", "state": "END"}]}', '{"model_version_status": [null]}'],
)  # fmt: skip
def test_what_is_no_status_is_said_to_be_none(body: str) -> None:
    with pytest.raises(ValueError):
        parse_model_status(body)


def test_no_labels_are_known_before_a_configuration_is(rest: Rest) -> None:
    core = core_of({"half": {1: half_plus_two()}})
    assert predict(Rest(core, Metrics()), "/v1/models/half/labels/stable:predict") == (
        503, {"error": "Model labels does not init yet.stable"},
    )  # fmt: skip
    core.manager.close()


def test_the_monitoring_page_counts_requests_by_model_and_outcome(rest: Rest, tmp_path: Path) -> None:
    file = tmp_path / "monitoring"
    file.write_text('prometheus_config { enable: true path: "/metrics" }')
    watched = Rest(rest._core, Metrics(str(file)))
    for _ in range(3):
        predict(watched, "/v1/models/half:predict")
    predict(watched, '/v1/models/a"b:predict')
    page = watched.handle("GET", "/metrics", {})
    assert (page.code, page.content_type) == (200, "text/plain")
    lines = page.body.splitlines()
    assert ':tensorflow:serving:request_count{model_name="half",status="OK"} 3' in lines
    assert ':tensorflow:serving:request_count{model_name="a\\"b",status="NOT_FOUND"} 1' in lines
    assert ':tensorflow:serving:request_latency_count{model_name="half",API="predict",entrypoint="REST"} 3' in lines
    assert not any("request_latency" in line and 'a\\"b' in line for line in lines)


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics", 200),
        ('prometheus_config { enable: true, path: "/m" }', "/m", 200),
        ('prometheus_config { enable: true, path: "/m" }', "/m/", 404),
        ('prometheus_config { enable: true, path: "m" }', "/m", 404),
        ('prometheus_config { enable: false, path: "/m" }', "/m", 404),
        ("prometheus_config { enable: false }", "/monitoring/prometheus/metrics", 404),
        ("foo bar", "/monitoring/prometheus/metrics", 404),
        ("", "/monitoring/prometheus/metrics", 404),
        (None, "/monitoring/prometheus/metrics", 404),
        ('prometheus_config { enable: true, path: "/v1/models/half" }', "/v1/models/half", 200),
    ],
)
def test_where_the_monitoring_page_is(rest: Rest, text: str | None, path: str, code: int, tmp_path: Path) -> None:
    file = tmp_path / "monitoring"
    if text is not None:
        file.write_text(text)
    watched = Rest(rest._core, Metrics(str(file)))
    assert predict(watched, "/v1/models/half:predict")[0] == 200
    reply = watched.handle("GET", path, {})
    assert reply.code == code
    assert ":tensorflow:serving:request_count{" in reply.body if code == 200 else reply.body == NOT_FOUND


def test_names_that_nobody_serves_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    for at in range(MOST_SERIES + 5):
        metrics.count(Asked("predict", "REST", f"m{at}"), "NOT_FOUND")
    metrics.count(Asked("predict", "REST", "served", 1), "OK")
    metrics.count(Asked("predict", "REST", "m1"), "NOT_FOUND")
    lines = metrics.page().splitlines()
    count = ":tensorflow:serving:request_count"
    assert f'{count}{{model_name="{OTHERS}",status="NOT_FOUND"}} 5' in lines
    assert f'{count}{{model_name="m1",status="NOT_FOUND"}} 2' in lines
    assert f'{count}{{model_name="served",status="OK"}} 1' in lines


def test_rest_words_a_failure_as_the_code_says() -> None:
    with pytest.raises(Failed) as raised:
        parse("PATCH", "/v1/models/m")
    assert raised.value.code == "INVALID_ARGUMENT"

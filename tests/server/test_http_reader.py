"""Requests are read, and refused, as libevent does, however the bytes arrive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.server.http_reader import HEAD_BYTES, Reader, Refused, Request, head, page

GET = b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/models/m:predict HTTP/1.1\r\n"

# What comes -> (method, path, body) of each request, and at last the code of the page if it is refused.
CASES: list[tuple[bytes, list[object]]] = [
    (GET + GET, [("GET", "/v1/models/m", b"")] * 2),
    (b"GET /v1/models/m HTTP/1.1\nHost: x\n\n", [("GET", "/v1/models/m", b"")]),
    (b"GET /v1/models/m HTTP/1.1\r\n\r\n", [("GET", "/v1/models/m", b"")]),
    (b"GET http://x:1/v1/models/m?q=1#f HTTP/1.1\r\n\r\n", [("GET", "/v1/models/m?q=1#f", b"")]),
    (b"GET /v1/models/m?a?b HTTP/1.1\r\n\r\n", [("GET", "/v1/models/m?a?b", b"")]),
    (b"GET v1/models/m HTTP/1.1\r\n\r\n", [("GET", "v1/models/m", b"")]),
    (b"OPTIONS * HTTP/1.1\r\n\r\n", [("OPTIONS", "*", b"")]),
    (b"GET /v1/models/m HTTP/1.2\r\n\r\n", [("GET", "/v1/models/m", b"")]),
    (b"GET /v1/models/m HTTP/0.9\r\n\r\n", [("GET", "/v1/models/m", b"")]),
    (POST + b"content-length:3\r\n\r\nabc" + GET,
     [("POST", "/v1/models/m:predict", b"abc"), ("GET", "/v1/models/m", b"")]),
    (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", [("POST", "/v1/models/m:predict", b"abc")]),
    (POST + b"Content-Length: 3\r\nBad Name: 1\r\n folded\r\n\r\nabc", [("POST", "/v1/models/m:predict", b"abc")]),
    (POST + b"\r\n" + GET, [("POST", "/v1/models/m:predict", b""), ("GET", "/v1/models/m", b"")]),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0x1 x\r\nc\r\n0\r\nT: 1\r\n\r\n" + GET,
     [("POST", "/v1/models/m:predict", b"abc"), ("GET", "/v1/models/m", b"")]),
    (b"\r\n" + GET, [400]),
    (b"GET  /v1/models/m HTTP/1.1\r\n", [400]),
    (b"GET /v1/models/m HTTP/1.1 \r\n", [400]),
    (b"GET /v1/models/m\r\n", [400]),
    (b"GET /v1/mod\xe4ls HTTP/1.1\r\n", [400]),
    (b"GET /v1/models/we ird HTTP/1.1\r\n", [400]),
    (b"GET /v1/models/m HTTP/1.1 x HTTP/1.1\r\n", [400]),
    (b"GET /v1/models/%zz HTTP/1.1\r\n", [400]),
    (b"GET v1:x/models HTTP/1.1\r\n\r\n", [("GET", "x/models", b"")]),
    (b"GET 1:x/models HTTP/1.1\r\n", [400]),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    (b"GET / FTP/1.1\r\n", [400]),
    (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", [400]),
    (b"GET / HTTP/1.1\r\n folded: 1\r\n\r\n", [400]),
    (b"FOO /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", [501]),
    (b"get /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", [501]),
    (b"CONNECT /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", [501]),
    (POST + b"Content-Length: abc\r\n\r\n", [400]),
    (POST + b"Content-Length: -1\r\n\r\n", [400]),
    (POST + b"Content-Length: \r\n\r\n", [400]),
    (POST + b"Content-Length: 99999999999999999999\r\n\r\n", [413]),
    (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", [413]),
    (POST + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\nabc", [("POST", "/v1/models/m:predict", b"abc")]),
    (b"GET / HTTP/" + b"1" * 5000 + b".1\r\n\r\n", [400]),
    (b"GET /?" + b"a" * 5000 + b"\xff HTTP/1.1\r\n\r\n", [400]),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n",
     [("POST", "/v1/models/m:predict", b"a" * 20_000)]),
    (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", [400]),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nnone\r\n", [400]),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n1;x\r\n", [400]),
    (POST + b"Content-Length: 3\r\nExpect: miracles\r\n\r\n", [417]),
]  # fmt: skip


def _read(parts: Sequence[bytes]) -> list[object]:
    reader = Reader()
    found: list[object] = []
    try:
        for part in parts:
            reader.feed(part)
            while (request := reader.take()) is not None:
                found.append((request.method, request.path, request.body))
    except Refused as refused:
        found.append(refused.code)
    return found


@pytest.mark.parametrize(("raw", "expected"), CASES)
def test_reads(raw: bytes, expected: list[object]) -> None:
    assert _read([raw]) == expected


@given(st.sampled_from(CASES), st.data())
def test_reads_the_same_however_it_arrives(case: tuple[bytes, list[object]], data: st.DataObject) -> None:
    raw, expected = case
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)))) | {0, len(raw)})
    assert _read([raw[a:b] for a, b in pairwise(cuts)]) == expected


@given(st.binary())
def test_never_fails_otherwise(raw: bytes) -> None:
    _read([raw])


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        (b"HTTP/1.1\r\n", True),
        (b"HTTP/1.1\r\nConnection: close\r\n", False),
        (b"HTTP/1.1\r\nConnection: CLOSE\r\n", False),
        (b"HTTP/1.1\r\nConnection: close, x\r\n", True),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_says_whether_the_connection_stays(lines: bytes, keeps: bool) -> None:
    reader = Reader()
    reader.feed(b"GET /v1/models/m " + lines + b"\r\n")
    request = reader.take()
    assert request is not None
    assert request.keeps is keeps


def test_the_first_of_two_headers_counts() -> None:
    reader = Reader()
    reader.feed(b"GET / HTTP/1.1\r\nA: 1 \r\nB:  2\r\n\t3\r\na: 4\r\n 5\r\n\r\n")
    request = reader.take()
    assert request is not None
    assert {name: request.headers[name] for name in "ab"} == {"a": "1", "b": "2 3"}


def test_awaits_continue_only_without_a_body() -> None:
    reader = Reader()
    reader.feed(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert reader.take() is None
    assert reader.awaits_continue
    reader.feed(b"a")
    assert reader.take() is None
    assert not reader.awaits_continue


def test_a_head_without_end_is_refused() -> None:
    reader = Reader()
    reader.feed(b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES)
    with pytest.raises(Refused):
        reader.take()


@pytest.mark.parametrize(
    ("version", "keeps", "code", "kind", "expected"),
    [
        ("HTTP/1.1", True, 200, "application/json", "Content-Type: application/json|Date: now|Content-Length: 5"),
        ("HTTP/1.1", False, 200, "application/json",
         "Content-Type: application/json|Date: now|Content-Length: 5|Connection: close"),
        ("HTTP/1.0", False, 200, "application/json", "Content-Type: application/json"),
        ("HTTP/1.0", True, 200, "application/json",
         "Content-Type: application/json|Connection: keep-alive|Content-Length: 5"),
        ("HTTP/1.1", True, 400, "", "Date: now|Content-Length: 5|Content-Type: text/html; charset=ISO-8859-1"),
    ],
)  # fmt: skip
def test_writes_heads(version: str, keeps: bool, code: int, kind: str, expected: str) -> None:
    request = Request("GET", "/", {}, version=version, keeps=keeps)
    first, *lines = head(request, code, kind, 5, "now").decode().removesuffix("\r\n\r\n").split("\r\n")
    assert first.split(" ")[:2] == [version, str(code)]
    assert "|".join(lines) == expected


def test_writes_pages() -> None:
    assert page(Refused(501), "now") == (
        b"HTTP/1.1 501 Not Implemented\r\nContent-Type: text/html\r\nConnection: close\r\nDate: now\r\n"
        b"Content-Length: 102\r\n\r\n<HTML><HEAD>\n<TITLE>501 Not Implemented</TITLE>\n</HEAD><BODY>\n"
        b"<H1>Not Implemented</H1>\n</BODY></HTML>\n"
    )

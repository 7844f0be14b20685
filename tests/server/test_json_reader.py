"""JSON is read as RapidJSON reads it, and numbers are written as it writes them."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.protocol.rest import quoted
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import json_document, json_reader

NAME, COLON = "Missing a name for object member.", "Missing a colon after a name of object member."
OBJECT, ARRAY = "Missing a comma or '}' after an object member.", "Missing a comma or ']' after an array element."
INVALID, BIG = "Invalid value.", "Number too big to be stored in double."
END, ESCAPE = "Missing a closing quotation mark in string.", "Invalid escape character in string."
HEX, PAIR = "Incorrect hex digit after \\u escape in string.", "The surrogate pair in string is invalid."
EMPTY, FRACTION, EXPONENT = "The document is empty.", "Miss fraction part in number.", "Miss exponent in number."

REFUSED = [
    (b"   ", EMPTY, 3), (b"\xef\xbb\xbf", EMPTY, 3), (b"\0", EMPTY, 0),
    (b"{", NAME, 1), (b"{,", NAME, 1), (b'{"a":1,}', NAME, 7), (b"{1:2}", NAME, 1), (b"{'a':1}", NAME, 1),
    (b'{"a" 1}', COLON, 5), (b'{"a"', COLON, 4), (b'{"a":1', OBJECT, 6), (b'{"a":1 "b":2}', OBJECT, 7),
    (b"[1", ARRAY, 2), (b"[1 2]", ARRAY, 3), (b"[01]", ARRAY, 2), (b"[1_0]", ARRAY, 2), (b"[0x10]", ARRAY, 2),
    (b"[1,]", INVALID, 3), (b"[", INVALID, 1), (b"[nan]", INVALID, 2), (b"[nul]", INVALID, 4), (b"[True]", INVALID, 1),
    (b"[+1]", INVALID, 1), (b"[.5]", INVALID, 1), (b"[--1]", INVALID, 2), (b"[-]", INVALID, 2), (b"[Na]", INVALID, 3),
    (b"[Infinit]", INVALID, 8), (b"[-x]", INVALID, 2), (b'{"a":}', INVALID, 5), (b"bad", INVALID, 0),
    (b"[1.]", FRACTION, 3), (b"[1.e5]", FRACTION, 3), (b"[1e]", EXPONENT, 3), (b"[1.0e+]", EXPONENT, 6),
    (b"[1e309]", BIG, 1), (b"[-1e400]", BIG, 1), (b"[" + b"9" * 400 + b"]", BIG, 1),
    (b'["a', END, 3), (b'["a\0b"]', END, 3), (b'["a\\', ESCAPE, 3), (b'["a\\x"]', ESCAPE, 3), (b'["\t"]', ESCAPE, 2),
    (b'["\\u12g4"]', HEX, 2), (b'["\\ud800"]', PAIR, 2), (b'["\\ud800\\n"]', PAIR, 2), (b'["\\ud800\\u0041"]', PAIR, 2),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "words", "at"), REFUSED)
def test_says_what_is_wrong_and_where(raw: bytes, words: str, at: int) -> None:
    with pytest.raises(json_reader.Refused, match=r".*") as refused:
        json_reader.read(raw)
    assert str(refused.value) == f"{words} at offset: {at}"
    with pytest.raises(Failed) as failed:
        json_document.parse(raw)
    assert failed.value.message == f"JSON Parse error: {words} at offset: {at}"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": [Inf, -Inf, Infinity, -Infinity]}', {"a": [math.inf, -math.inf, math.inf, -math.inf]}),
        (b'{"a": 1, "a": 2} and more', {"a": 1}),
        (b'\xef\xbb\xbf {"a": [18446744073709551615, -9223372036854775808]}', {"a": [2**64 - 1, -(2**63)]}),
        (b'{"a": [18446744073709551616, -9223372036854775809]}', {"a": [2.0**64, -(2.0**63)]}),
        (b'{"a": [2e308, 1e-310, -0, 1E+5]}', {"a": [math.inf, 0.0, 0, 1e5]}),
        (b'{"a": "\\ud83d\\ude00\\u00e9\\/"}', {"a": "\U0001f600\xe9/"}),
        (b'{"a": "\xff\xfe"}', {"a": "\udcff\udcfe"}),
        (b'{"a": null, "b": {}, "c": []}', {"a": None, "b": {}, "c": []}),
    ],
)
def test_takes_what_rapidjson_takes(raw: bytes, value: Any) -> None:
    found = json_document.parse(raw)
    assert found == value
    assert repr(found) == repr(value)
    assert repr(json_reader.read(raw)) == repr(value)


def test_takes_nan_with_a_sign() -> None:
    assert math.isnan(json_document.parse(b'{"a": -NaN}')["a"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(JSON, st.booleans())
def test_reads_all_json(value: Any, ascii_only: bool) -> None:
    assert json_reader.read(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_reads_numbers_to_the_last_digit_but_one(value: float) -> None:
    found = json_reader.read(repr(value).encode())
    # RapidJSON rounds twice: it may be off by the last bits, and knows no numbers below the normal ones.
    assert math.isclose(found, value, rel_tol=1e-15, abs_tol=2.3e-308)


NUMBERS = st.lists(st.from_regex(rb"-?(0|[1-9][0-9]{0,10})(\.[0-9]{1,9})?(e-?[0-9])?", fullmatch=True), min_size=1)


@given(NUMBERS, st.sampled_from([b",", b" , ", b",\n\t"]), st.sampled_from([b"", b"x", b","]))
def test_a_run_of_numbers_is_what_each_of_them_is(tokens: list[bytes], comma: bytes, after: bytes) -> None:
    raw = comma.join(tokens)
    each = [json_reader.read(token) for token in tokens]
    assert repr(json_reader.read(b"[" + raw + b"]")) == repr(each)
    with pytest.raises(json_reader.Refused, match=f"at offset: {1 + len(raw + comma)}$"):
        json_reader.read(b"[" + raw + comma + after)


@given(st.binary())
def test_reads_or_refuses(raw: bytes) -> None:
    with contextlib.suppress(json_reader.Refused):
        json_reader.read(raw)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0**64, "18446744073709553000.0"), (1e23, "9.999999999999999e22"), (1e21, "1e21"),
     (1e20, "100000000000000000000.0"),
     (0.1, "0.1"), (1e-6, "0.000001"), (1e-7, "1e-7"), (1.5, "1.5"), (-2.0, "-2.0"), (0.0, "0.0"), (-0.0, "-0.0"),
     (1.7976931348623157e308, "1.7976931348623157e308"), (5e-324, "5e-324")],
)  # fmt: skip
def test_writes_numbers(value: float, text: str) -> None:
    assert json_document.shown(value) == text


@given(st.integers(1, 0x7FEFFFFFFFFFFFFF))
def test_what_is_written_is_the_number(bits: int) -> None:
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))
    assert float(json_document.shown(value)) == value


def test_writes_escapes_in_capitals() -> None:
    assert quoted('\x1f\\u001f\x0b\n"/\x7f\xe9') == '"\\u001F\\\\u001f\\u000B\\n\\"/\x7f\xe9"'

"""The gateway and Protobuf read the same request the same way, however it is written; else it could be sent astray."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.harness import PREDICTION, Gateway, call
from tests.gateway.wire import ModelRequest, TasksRequest, filler, spec

WEIGHTED, LABELS, EXPLICIT = {7, 8}, {"stable": 7, "canary": 8}, {7, 8, 9}


def field(tag: int, body: bytes) -> bytes:
    """A length-delimited field, below 128 bytes."""
    return bytes([tag, len(body)]) + body


NAMES = st.just(spec("m").SerializeToString())
VERSIONS = st.sampled_from([7, 8, 9, 6, 0, -1, 2**53, 2**62]).map(lambda one: spec("", one).SerializeToString())
LABELLED = st.sampled_from(["stable", "canary", "nope", ""]).map(lambda one: spec("", label=one).SerializeToString())
SIGNATURE = st.just(field(0x1A, b"serving_default"))
NUMBERS = st.sampled_from([b"\x28\x07", b"\x2d1234", b"\x29" + b"x" * 8, b"\x28\xff\xff\x7f"])
SPECS = st.tuples(st.lists(NAMES | VERSIONS | LABELLED | SIGNATURE | NUMBERS, max_size=4).map(b"".join), NAMES).map(
    lambda both: field(0x0A, both[0] + both[1])
)
OTHERS = st.integers(1, 1500).map(filler) | NUMBERS
REQUESTS = st.lists(SPECS | OTHERS, min_size=1, max_size=4).map(b"".join)

TASK = REQUESTS.filter(lambda one: len(one) < 128).map(lambda one: field(0x0A, one))
TASKS = st.lists(TASK, min_size=1, max_size=3).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn, requests: st.SearchStrategy[bytes]) -> bytes:
    """A request of which sometimes a byte is changed or the end is missing."""
    body = bytearray(draw(requests))
    change = draw(st.sampled_from(["nothing", "nothing", "byte", "end"]))
    at = draw(st.integers(0, min(len(body), 40) - 1))
    if change == "byte":
        body[at] = draw(st.integers(0, 255))
    elif change == "end":
        del body[at:]
    return bytes(body)


@pytest.fixture(scope="module")
def channel(running: Gateway) -> Iterator[grpc.Channel]:
    """One connection for many requests."""
    with running.channel() as opened:
        yield opened


def check(channel: grpc.Channel, method: str, body: bytes, read: object) -> None:
    """What is answered is what the request, as Protobuf reads it, asked for."""
    code, answer = call(channel, PREDICTION + method, body)
    if read is None or read.name != "m":  # type: ignore[attr-defined]
        assert code != "OK"
        return
    asked = read.WhichOneof("version_choice")  # type: ignore[attr-defined]
    if asked == "version":
        allowed = {read.version.value} & EXPLICIT  # type: ignore[attr-defined]
    elif asked == "version_label":
        allowed = {LABELS.get(read.version_label)} - {None}  # type: ignore[attr-defined]
    else:
        allowed = WEIGHTED
    if code == "OK":
        assert answer["version"] in allowed
        assert answer["label"] is None
    else:
        assert not allowed, answer


quick = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(body=damaged(REQUESTS))
def test_predict(channel: grpc.Channel, body: bytes) -> None:
    try:
        request = ModelRequest.FromString(body)
    except DecodeError:
        return check(channel, "Predict", body, None)
    return check(channel, "Predict", body, request.model_spec if request.HasField("model_spec") else None)


@quick
@given(body=damaged(TASKS))
def test_multi_inference(channel: grpc.Channel, body: bytes) -> None:
    try:
        tasks = TasksRequest.FromString(body).tasks
    except DecodeError:
        return check(channel, "MultiInference", body, None)
    return check(channel, "MultiInference", body, tasks[0].model_spec if tasks else None)

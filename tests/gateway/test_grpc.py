"""What the gateway does with gRPC requests: real Envoy, real back ends."""

from __future__ import annotations

import socket
import uuid
from collections import Counter

import grpc
import pytest

from tests.gateway.conftest import LARGE
from tests.gateway.harness import MODEL, PREDICTION, Gateway, call, wait
from tests.gateway.wire import filler, request, spec, tasks

SINGLE = ["Predict", "Classify", "Regress", "GetModelMetadata"]
MIB = 1024 * 1024


@pytest.mark.parametrize("method", SINGLE)
@pytest.mark.parametrize(
    ("body", "version"),
    [
        (request("one"), LARGE),
        (request("one", padding=1000), LARGE),
        (request("m", 9), 9),
        (request("m", 8, padding=70_000), 8),
        (request("m", label="canary"), 8),
        (request("m", label="stable", padding=200_000), 7),
        (request("half-plus_two", padding=5 * MIB), 2),
        (filler(300_000) + request("m", label="canary"), 8),
    ],
)
def test_the_model_server_is_asked_for_the_exact_version(
    running: Gateway, method: str, body: bytes, version: int
) -> None:
    code, answer = running.rpc(PREDICTION + method, body)
    assert (code, answer["version"], answer["label"]) == ("OK", version, None)
    assert answer["bytes"] > len(body)


REFUSED = [
    ("Predict", request("nobody"), "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
    ("Predict", request("m", 6), "NOT_FOUND", "Servable not found for request: Specific(m, 6)"),
    ("Predict", request("m", -6), "NOT_FOUND", "Servable not found for request: Specific(m, -6)"),
    ("Predict", request("m", label="nope"), "INVALID_ARGUMENT", "Unrecognized servable version label: nope"),
    ("Predict", request("m", label="é%\n"), "INVALID_ARGUMENT", "Unrecognized servable version label: é%\n"),
    ("Predict", request("nobody", label="x"), "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
    ("Predict", request("m/8"), "NOT_FOUND", "Servable not found for request: Latest(m/8)"),
    ("Predict", request("m@canary"), "NOT_FOUND", "Servable not found for request: Latest(m@canary)"),
    ("Predict", request("mé"), "NOT_FOUND", "Servable not found for request: Latest(mé)"),
    ("Predict", request(""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ("Predict", request("gone"), "UNAVAILABLE", "no healthy upstream"),
    ("Predict", request("early"), "UNAVAILABLE", "no version of the model is served yet"),
    ("MultiInference", tasks(spec("nobody")), "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
    ("MultiInference", tasks(spec("m", 6)), "NOT_FOUND", "Servable not found for request: Specific(m, 6)"),
    ("MultiInference", b"", "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("Predict", filler(20), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("Predict", request("m", 0), "NOT_FOUND", "Servable not found for request: Specific(m, 0)"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "body", "code", "details"), REFUSED)
def test_refusals_have_the_servers_words(running: Gateway, method: str, body: bytes, code: str, details: str) -> None:
    assert running.rpc(PREDICTION + method, body) == (code, details)


@pytest.mark.parametrize(
    ("body", "version", "count"),
    [
        (tasks(spec("one"), spec("one")), LARGE, 2),
        (tasks(spec("m", 9), spec("m", 9)), 9, 2),
        (tasks(spec("m", label="canary")), 8, 1),
        (tasks(spec("one"), spec("one", 9)), LARGE, 2),
        (tasks(spec("m", 8), spec("m")), 8, 2),
        (filler(200) + tasks(spec("m", label="canary")) + filler(300_000), 8, 1),
    ],
)
def test_the_first_task_of_a_multi_inference_gets_the_version(
    running: Gateway, body: bytes, version: int, count: int
) -> None:
    code, answer = running.rpc(PREDICTION + "MultiInference", body)
    assert (code, answer["version"], answer["label"], answer["tasks"]) == ("OK", version, None, count)


def test_model_status_goes_untouched_to_whoever_has_the_model(running: Gateway) -> None:
    code, answer = running.rpc(MODEL + "GetModelStatus", request("m"))
    assert (code, answer["version"], answer["bytes"]) == ("OK", None, len(request("m")))
    answer = running.rpc(MODEL + "GetModelStatus", request("nobody"))
    assert answer == ("NOT_FOUND", "Could not find any versions of model nobody")


def test_weights_and_balance_on_one_connection(running: Gateway) -> None:
    with running.channel() as channel:
        answers = [call(channel, PREDICTION + "Predict", request("m"))[1] for _ in range(400)]
    versions = Counter(answer["version"] for answer in answers)
    assert set(versions) == {7, 8}
    assert 14 <= versions[8] <= 72  # a binomial with n = 400, p = 0.1 is outside once in a million times
    replicas = Counter(answer["name"] for answer in answers)
    assert min(replicas["a"], replicas["b"]) > 100, "requests are spread, not connections"


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (MODEL + "HandleReloadConfigRequest", "PERMISSION_DENIED"),
        (PREDICTION + "Explode", "UNIMPLEMENTED"),
        ("/tensorflow.serving.SessionService/SessionRun", "UNIMPLEMENTED"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "UNIMPLEMENTED"),
        ("/tensorflow.ProfilerService/Profile", "UNIMPLEMENTED"),
        ("/grpc.health.v1.Health/Watch", "UNIMPLEMENTED"),
    ],
)
def test_methods_are_admitted_by_list(running: Gateway, method: str, code: str) -> None:
    assert running.rpc(method, request("m"))[0] == code


def test_health(running: Gateway) -> None:
    assert running.rpc("/grpc.health.v1.Health/Check", b"") == ("OK", b"\x08\x01")


def test_compressed_messages_are_refused(running: Gateway) -> None:
    with running.channel() as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary(PREDICTION + "Predict")(
            request("m", padding=1000), timeout=10, compression=grpc.Compression.Gzip
        )
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_pinned_by_header(running: Gateway) -> None:
    predict = PREDICTION + "Predict"
    assert running.rpc(predict, request("m"), x_tfs_version="9")[1]["version"] == 9
    assert running.rpc(predict, request("m", 8), x_tfs_version="9")[1]["version"] == 8
    assert running.rpc(predict, request("m", label="stable"), x_tfs_version="9")[1]["version"] == 7
    assert running.rpc(predict, request("m"), x_tfs_version="any")[0] == "INVALID_ARGUMENT"
    assert running.rpc(predict, request("one"), x_tfs_route="m/8")[1]["version"] == LARGE


def test_a_clients_deadline_counts(running: Gateway) -> None:
    code, _ = running.rpc(PREDICTION + "Predict", request("m"), timeout=0.3, x_sleep="3")
    assert code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL", "FAILED_PRECONDITION"])
def test_model_errors_pass(running: Gateway, code: str) -> None:
    assert running.rpc(PREDICTION + "Predict", request("m"), x_fail=code) == (code, "as asked for")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: str, value: str) -> bytes:
    """An HPACK literal without indexing, for strings under 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def raw(running: Gateway, *data: bytes, content_type: str = "application/grpc", name: str = "") -> bytes:
    """Sends a Predict with these DATA frames, byte for byte, and returns all that comes back on the stream."""
    headers = b"".join(
        literal(header, value)
        for header, value in {
            ":method": "POST",
            ":scheme": "http",
            ":path": PREDICTION + "Predict",
            ":authority": "x",
            "content-type": content_type,
            "te": "trailers",
            "x-request-id": name,
        }.items()
    )
    with socket.create_connection(("127.0.0.1", running.shape.grpc_port), timeout=60) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        connection.sendall(frame(1, 4, 1, headers))
        for one in data:
            connection.sendall(frame(0, 0, 1, one))
        connection.sendall(frame(0, 1, 1, b""))
        received = bytearray()
        while True:
            head = _exactly(connection, 9)
            payload = _exactly(connection, int.from_bytes(head[:3], "big"))
            if int.from_bytes(head[5:9], "big") == 1:
                received += head + payload
                if head[4] & 1 or head[3] == 3:
                    return bytes(received)


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        if not more:
            raise ConnectionError("closed")
        received += more
    return received


def message(body: bytes, flag: int = 0) -> bytes:
    """A gRPC message with its prefix."""
    return bytes([flag]) + len(body).to_bytes(4, "big") + body


def test_one_byte_frames(running: Gateway) -> None:
    whole = message(request("m", label="canary", padding=40))
    assert b'"version": 8' in raw(running, *[whole[at : at + 1] for at in range(len(whole))])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([], id="nothing"),
        pytest.param([message(b"")], id="empty"),
        pytest.param([message(request("m"))[:-2]], id="truncated"),
        pytest.param([b"\x00\x00"], id="half a prefix"),
        pytest.param([b"\x00this is not a gRPC message at all"], id="text"),
        pytest.param([message(b"\xff\xff\xff")], id="not protobuf"),
        pytest.param([message(request("m")) * 2], id="two messages"),
        pytest.param([message(b"\x0a\x05\x0a\x01m")], id="a length beyond the end"),
        pytest.param([message(request("m") + b"\x12\xff\xff\xff\xff\x7f")], id="a field beyond the end"),
        pytest.param([message(request("m") + b"\x0b")], id="a group"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/grpc", "application/json"])
def test_what_cannot_be_read_never_reaches_a_model_server(
    running: Gateway, data: list[bytes], content_type: str
) -> None:
    name = str(uuid.uuid4())
    answer = raw(running, *data, content_type=content_type, name=name)
    assert b'"version"' not in answer
    logged = wait("the log", lambda: [line for line in running.log() if line["request_id"] == name])[0]
    assert logged["cluster"] is None
    if content_type == "application/grpc":
        assert logged["grpc"] == "InvalidArgument"


def test_a_readable_message_that_does_not_say_grpc_is_refused(running: Gateway) -> None:
    assert b'"version"' not in raw(running, message(request("m")), content_type="application/json")


def test_a_message_that_only_its_flag_calls_compressed_is_refused(running: Gateway) -> None:
    assert b'"version"' not in raw(running, message(request("m"), flag=1))

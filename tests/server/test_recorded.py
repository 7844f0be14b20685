"""What tensorflow_model_server 2.20.0 answers, REST and gRPC, is what this server answers over the wire."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory, text_format

from tests.server.live import Live

CASES = Path(__file__).parents[1] / "cases" / "server"

MESSAGES = {
    "Predict": ("PredictRequest", "PredictResponse"),
    "Classify": ("ClassificationRequest", "ClassificationResponse"),
    "Regress": ("RegressionRequest", "RegressionResponse"),
    "MultiInference": ("MultiInferenceRequest", "MultiInferenceResponse"),
    "GetModelMetadata": ("GetModelMetadataRequest", "GetModelMetadataResponse"),
    "GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse"),
}


def _cases(*files: str) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in (CASES / file).read_text().splitlines()]


# TensorFlow counts its functions, and the recorded models had others.
_NUMBER = re.compile(r"(function_node \w+?)_\d+\}\}")


def _uncounted(words: str) -> str:
    return _NUMBER.sub(r"\1_N}}", words)


def _message(name: str, text: str) -> Any:
    from tensorflow_serving.apis import (  # noqa: F401
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        predict_pb2,
        regression_pb2,
    )

    kind = descriptor_pool.Default().FindMessageTypeByName(f"tensorflow.serving.{name}")
    return text_format.Parse(text, message_factory.GetMessageClass(kind)())


def _parsed(name: str, raw: bytes) -> Any:
    answer = _message(name, "")
    answer.ParseFromString(raw)
    return answer


def test_rest(live: Live) -> None:
    """One test for all, because each case takes a millisecond; every difference is named."""
    different = []
    for case in _cases("rest.jsonl", "rest_examples.jsonl"):
        body = base64.b64decode(case["body64"]) if "body64" in case else case.get("body", "").encode() or None
        expected = base64.b64decode(case["answer64"]) if "answer64" in case else case["answer"].encode()
        code, kind, answer = live.ask(case["method"], case["path"], body, case.get("headers"))
        same = answer == expected or _uncounted(answer.decode(errors="replace")).encode() == expected
        if not same and not case.get("exact", True) and kind == "application/json" and answer:
            # Of several outputs the original's hash map gives the order; there the JSON value counts. Latin-1 reads
            # what is no UTF-8, too: strings go out as the model gives them.
            same = json.loads(answer.decode("latin-1")) == json.loads(expected.decode("latin-1"))
        if not same or (code, kind) != (case["code"], case["type"]):
            different.append((case, code, kind, answer))
    assert different == []


def test_grpc(live: Live) -> None:
    different = []
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel:
        for case in _cases("grpc.jsonl", "grpc_examples.jsonl"):
            asked, answered = MESSAGES.get(case["method"].rpartition("/")[2], ("", ""))
            raw64 = case.get("request64")
            body = base64.b64decode(raw64) if raw64 else _message(asked, case["request"]).SerializeToString()
            try:
                raw = channel.unary_unary(case["method"])(body, timeout=30)
            except grpc.RpcError as error:
                if (error.code().name, _uncounted(error.details() or "")) != (case["code"], case.get("message")):
                    different.append((case, error.code().name, error.details()))
                continue
            answer, expected = _parsed(answered, raw), _message(answered, case.get("answer", ""))
            # As text, which has the keys of packed messages in order and NaN equal to itself.
            if case["code"] != "OK" or text_format.MessageToString(answer) != text_format.MessageToString(expected):
                different.append((case, "OK", answer))
    assert different == []


@pytest.mark.parametrize("file", ["rest.jsonl", "rest_examples.jsonl", "grpc.jsonl", "grpc_examples.jsonl"])
def test_no_case_is_there_twice(file: str) -> None:
    lines = (CASES / file).read_text().splitlines()
    assert len(lines) == len(set(lines))


def test_counts_what_was_asked(live: Live) -> None:
    live.predict("versions/versions/2", 1.0)
    live.ask("POST", "/v1/models/versions/versions/9:predict", b'{"instances": [1.0]}')
    code, kind, body = live.ask("GET", "/metrics")
    page = body.decode()
    assert (code, kind) == (200, "text/plain")
    assert ':tensorflow:serving:request_count{model_name="versions",status="OK"}' in page
    assert ':tensorflow:serving:request_count{model_name="versions",status="NOT_FOUND"}' in page
    label = 'model_name="versions",API="predict",entrypoint="REST"'
    assert f':tensorflow:serving:request_latency_bucket{{{label},le="+Inf"}}' in page
    assert f":tensorflow:serving:request_latency_count{{{label}}}" in page


@pytest.mark.parametrize("model", ["clf", "counter", "half_plus_three", "halves", "multi"])
def test_metadata_has_every_signature_as_it_was_saved(live: Live, model: str) -> None:
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2

    (file,) = (live.log.parent / model).glob("*/saved_model.pb")
    (saved,) = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    asked = _message("GetModelMetadataRequest", f'model_spec {{ name: "{model}" }} metadata_field: "signature_def"')
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/GetModelMetadata")
        answer = _parsed("GetModelMetadataResponse", call(asked.SerializeToString(), timeout=30))
    told = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(told)
    assert dict(told.signature_def) == dict(saved.signature_def)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
def test_the_monitoring_page_is_there_for_every_method(live: Live, method: str) -> None:
    code, kind, body = live.ask(method, "/metrics")
    assert (code, kind, b"# TYPE" in body) == (200, "text/plain", method != "HEAD")


@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_many_values_packed_or_not(live: Live, pack: Callable[[bytes], bytes] | None) -> None:
    body = json.dumps({"instances": [1.0] * 20_000}).encode()
    path, headers = "/v1/models/half_plus_two:predict", {"Content-Encoding": "gzip"} if pack else {}
    code, _, answer = live.ask("POST", path, pack(body) if pack else body, headers)
    assert (code, answer) == (200, b'{\n    "predictions": [' + b", ".join([b"2.5"] * 20_000) + b"\n    ]\n}")


def test_a_message_of_64_mib_there_and_back(live: Live) -> None:
    values = np.arange(2**24, dtype=np.float32)
    shape = "value { dtype: DT_FLOAT tensor_shape { dim { size: 16777216 } } }"
    asked = _message("PredictRequest", f'model_spec {{ name: "half_plus_two" }} inputs {{ key: "x" {shape} }}')
    asked.inputs["x"].tensor_content = values.tobytes()
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}", limits) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answer = _parsed("PredictResponse", call(asked.SerializeToString(), timeout=120)).outputs["y"]
    assert [dim.size for dim in answer.tensor_shape.dim] == [2**24]
    assert np.array_equal(np.fromiter(answer.float_val, np.float32), values / 2 + 2)


def test_a_shape_that_no_message_could_fill_takes_no_memory(live: Live) -> None:
    """Three GiB, promised by a request of some bytes."""
    shape = "dtype: DT_FLOAT tensor_shape { dim { size: 805306368 } } float_val: 1.0"
    text = f'model_spec {{ name: "half_plus_two" }} inputs {{ key: "x" value {{ {shape} }} }}'
    body = _message("PredictRequest", text).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(body, timeout=30)
    assert (refused.value.code().name, refused.value.details()) == ("INVALID_ARGUMENT", "tensor parsing error: x")

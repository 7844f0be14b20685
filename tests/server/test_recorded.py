"""What tensorflow_model_server 2.20.0 answers, REST and gRPC, is what this server answers over the wire."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import grpc
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


def test_rest(live: Live) -> None:
    """One test for all, because each case takes a millisecond; every difference is named."""
    different = []
    for case in _cases("rest.jsonl", "rest_examples.jsonl"):
        body = base64.b64decode(case["body64"]) if "body64" in case else case.get("body", "").encode() or None
        code, kind, answer = live.ask(case["method"], case["path"], body, case.get("headers"))
        same = answer == case["answer"].encode() or _uncounted(answer.decode(errors="replace")) == case["answer"]
        if not same and not case.get("exact", True) and kind == "application/json" and answer:
            # Of several outputs the original's hash map gives the order; there the JSON value counts.
            same = json.loads(answer) == json.loads(case["answer"])
        if not same or (code, kind) != (case["code"], case["type"]):
            different.append((case, code, kind, answer))
    assert different == []


def test_grpc(live: Live) -> None:
    different = []
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel:
        for case in _cases("grpc.jsonl", "grpc_examples.jsonl"):
            asked, answered = MESSAGES[case["method"].rpartition("/")[2]]
            body = _message(asked, case["request"]).SerializeToString()
            try:
                raw = channel.unary_unary(case["method"])(body, timeout=30)
            except grpc.RpcError as error:
                if (error.code().name, _uncounted(error.details() or "")) != (case["code"], case.get("message")):
                    different.append((case, error.code().name, error.details()))
                continue
            answer = _message(answered, "")
            answer.ParseFromString(raw)
            expected = _message(answered, case.get("answer", ""))
            if case["code"] != "OK" or str(answer) != str(expected):
                different.append((case, "OK", str(answer)))
    assert different == []


@pytest.mark.parametrize("file", ["rest.jsonl", "grpc.jsonl"])
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


def test_metadata_names_inputs_and_outputs(live: Live) -> None:
    code, _, body = live.ask("GET", "/v1/models/half_plus_two/metadata")
    document = json.loads(body)
    assert code == 200
    assert document["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["method_name"] == "tensorflow/serving/predict"


def test_a_shape_that_no_message_could_fill_takes_no_memory(live: Live) -> None:
    """Three GiB, promised by a request of some bytes."""
    shape = "dtype: DT_FLOAT tensor_shape { dim { size: 805306368 } } float_val: 1.0"
    text = f'model_spec {{ name: "half_plus_two" }} inputs {{ key: "x" value {{ {shape} }} }}'
    body = _message("PredictRequest", text).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(body, timeout=30)
    assert (refused.value.code().name, refused.value.details()) == ("INVALID_ARGUMENT", "tensor parsing error: x")

"""Requests made from a signature."""

from __future__ import annotations

import json

import pytest

from tests.deploy.small_fleet import METADATA
from tfsdeploy.deploy.metadata import Input, example_request, example_values, model_path, read_inputs
from tfsdeploy.deploy.probe import grpc_answer, grpc_request
from tfsdeploy.errors import UsageError
from tfsdeploy.protocol.wire import PredictRequest, PredictResponse, tensor, tensor_values


def test_inputs_of_a_metadata_document() -> None:
    assert read_inputs(json.loads(METADATA), "ranker") == {"x": Input("DT_FLOAT", (-1,))}


@pytest.mark.parametrize("plain", [None, [], {}, {"metadata": {"signature_def": {"signature_def": {"other": {}}}}}])
def test_what_has_no_default_signature(plain: object) -> None:
    with pytest.raises(UsageError, match="no signature serving_default"):
        read_inputs(plain, "ranker")


@pytest.mark.parametrize(
    ("dtype", "shape", "value"),
    [
        ("DT_FLOAT", (), 0.0),
        ("DT_INT64", (-1, 2), [[0, 0]]),
        ("DT_STRING", (-1,), [""]),
        ("DT_BOOL", (2,), [False, False]),
        ("DT_FLOAT", None, [0.0]),
        ("DT_FLOAT", (0,), []),
    ],
)
def test_example(dtype: str, shape: tuple[int, ...] | None, value: object) -> None:
    given = Input(dtype, shape)
    assert json.loads(example_request({"x": given})) == {"inputs": value}
    assert json.loads(example_request({"x": given, "z": given})) == {"inputs": {"x": value, "z": value}}


@pytest.mark.parametrize(
    ("tensor", "said"), [(Input("DT_VARIANT", ()), "DT_VARIANT"), (Input("DT_FLOAT", (9**9,)), "too many")]
)
def test_no_example(tensor: Input, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        example_values({"x": tensor})


def test_grpc_request_and_answer() -> None:
    inputs = {"x": Input("DT_FLOAT", (-1,))}
    request = PredictRequest.FromString(grpc_request("ranker", inputs, {"x": [1.0, 2.0]}, version=8))
    assert (request.model_spec.name, request.model_spec.version.value) == ("ranker", 8)
    assert tensor_values(request.inputs["x"]) == [1.0, 2.0]
    assert not PredictRequest.FromString(grpc_request("ranker", inputs, {})).model_spec.HasField("version")
    with pytest.raises(UsageError, match="no input 'z'"):
        grpc_request("ranker", inputs, {"z": [1.0]})
    with pytest.raises(UsageError, match="different lengths"):
        grpc_request("ranker", inputs, {"x": [[1.0], []]})
    response = PredictResponse()
    response.model_spec.version.value = 8
    response.outputs["y"].CopyFrom(tensor([["a"]], "DT_STRING"))
    assert grpc_answer(response.SerializeToString()) == {
        "version": 8,
        "outputs": {"y": {"shape": [1, 1], "values": ["a"]}},
    }


def test_paths_are_quoted() -> None:
    assert model_path("a/../b", label="x y") == "/v1/models/a%2F..%2Fb/labels/x%20y"
    assert model_path("ranker", 7) == "/v1/models/ranker/versions/7"

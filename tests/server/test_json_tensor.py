"""Predict requests in JSON: what the original answers to each, to the letter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.server.arrays import core_of, half_plus_two, identity, multi
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import json_document, json_tensor
from tfsdeploy.server.json_answer import Array, Format, render
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.rest import Rest

FOLDER = Path(__file__).parents[1] / "cases" / "server"
CASES = [
    pytest.param(model, case, id=f"{model}: {case['request']}")
    for file in ("rest_predict.yaml", "rest_predict_faults.yaml")
    for model, cases in yaml.safe_load((FOLDER / file).read_text()).items()
    for case in cases
]
SPECIAL = {"id_string": object, "id_bool": np.bool_}


def model_of(name: str) -> Any:
    """The model of a case."""
    if name == "id_bfloat16":
        import ml_dtypes  # what TensorFlow itself has its bfloat16 from

        return identity(ml_dtypes.bfloat16)
    if name.startswith("id_"):
        return identity(SPECIAL.get(name, name.removeprefix("id_")))
    return {"half_plus_two": half_plus_two, "multi": multi}[name]()


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    names = sorted({str(case.values[0]) for case in CASES})
    core = core_of({name: {1: model_of(name)} for name in names})
    yield Rest(core, Metrics())
    core.manager.close()


@pytest.mark.parametrize(("model", "case"), CASES)
def test_answers_as_the_original(rest: Rest, model: str, case: dict[str, Any]) -> None:
    reply = rest.handle("POST", f"/v1/models/{model}:predict", {}, case["request"].encode())
    assert reply.content_type == "application/json"
    if "error" in case:
        assert (reply.code, json.loads(reply.body)) == (case["code"], {"error": case["error"]})
    elif model == "multi":
        assert (reply.code, json.loads(reply.body)) == (200, json.loads(case["answer"]))
    else:
        assert (reply.code, reply.body) == (200, case["answer"])


# Bytes that are no text, and control characters, cannot stand in the case file.
RAW = {
    b'{"instances":[1.0],"a":"\xff\xfe"}': (200, '{\n    "predictions": [2.5\n    ]\n}'),
    b'{"instances":[1.0]}\x00': (200, '{\n    "predictions": [2.5\n    ]\n}'),
    b"\x00": (400, '{\n    "error": "JSON Parse error: The document is empty. at offset: 0"\n}'),
    b"": (400, '{\n    "error": "JSON Parse error: The document is empty"\n}'),
}


@pytest.mark.parametrize(("body", "answer"), RAW.items(), ids=repr)
def test_answers_to_odd_bytes_as_the_original(rest: Rest, body: bytes, answer: tuple[int, str]) -> None:
    reply = rest.handle("POST", "/v1/models/half_plus_two:predict", {}, body)
    assert (reply.code, reply.body) == answer


@given(st.binary(max_size=60))
def test_any_bytes_are_answered(rest: Rest, body: bytes) -> None:
    reply = rest.handle("POST", "/v1/models/half_plus_two:predict", {}, body)
    assert reply.code == 400
    assert json.loads(reply.body).keys() == {"error"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "b64", "y"]), inner, max_size=2),
    max_leaves=8,
)


@given(st.sampled_from(["half_plus_two", "multi", "id_int8", "id_uint64", "id_string"]), VALUES, VALUES)
def test_any_document_is_answered_and_never_with_an_internal_error(
    rest: Rest, model: str, instances: Any, inputs: Any
) -> None:
    for document in ({"instances": instances}, {"inputs": inputs}, {"instances": [instances, inputs]}):
        reply = rest.handle("POST", f"/v1/models/{model}:predict", {}, json.dumps(document).encode())
        assert reply.code in (200, 400), reply.body


# Numbers below the normal ones are none, as in the original.
KINDS = (np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64, np.bool_)
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=4)
HOLLOW = arrays.array_shapes(min_dims=1, max_dims=3, max_side=3).map(lambda sizes: (*sizes, 0))
COLUMNS = st.just(()) | st.just((0,)) | SHAPES | HOLLOW
"""Instances are at least one; and of sizes after a 0 a list without elements has no word."""


def numbers(shapes: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[Array]:
    """Arrays of such shapes, of every kind of number that JSON has words for."""
    return st.sampled_from(KINDS).flatmap(
        lambda kind: arrays.arrays(kind, shapes, elements=arrays.from_dtype(np.dtype(kind), allow_subnormal=False))
    )


@given(array=numbers(SHAPES | HOLLOW))
def test_rows_of_numbers_come_back_bit_by_bit(array: Array) -> None:
    comes_back("instances", array)


@given(array=numbers(COLUMNS))
def test_numbers_come_back_bit_by_bit(array: Array) -> None:
    comes_back("inputs", array)


def comes_back(key: str, array: Array) -> None:
    document = json_document.parse(json.dumps({key: array.tolist()}).encode())
    (read,) = json_tensor.inputs_of(document, {"x": array.dtype}).values()
    np.testing.assert_array_equal(read, array)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    answer = json.loads(render({"y": read}, json_tensor.form_of(document)))
    (values,) = answer.values()
    np.testing.assert_array_equal(np.array(values, array.dtype), array)


@pytest.mark.parametrize(
    ("form", "sent", "got"), [("row", "instances", "predictions"), ("column", "inputs", "outputs")]
)
@given(data=st.data())
def test_bytes_come_back_as_they_were(form: Format, sent: str, got: str, data: st.DataObject) -> None:
    shape = data.draw(SHAPES | HOLLOW if form == "row" else COLUMNS)
    array = data.draw(arrays.arrays(object, shape, elements=st.binary(max_size=8)))
    answer = json.loads(render({"x_bytes": array}, form))[got]
    document = json_document.parse(json.dumps({sent: answer}).encode())
    read = json_tensor.inputs_of(document, {"x": np.dtype(object)})["x"]
    assert (read.shape, read.tolist()) == (array.shape, array.tolist())


@pytest.mark.parametrize("shape", [(200_000,), (1, 70_000), (3, 50_000), (100_000, 2, 1)])
def test_large_answers_are_written_as_small_ones(shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape)) % 1000 / 2).astype(np.float32).reshape(shape)
    assert render({"y": array}, "row") == '{\n    "predictions": ' + json.dumps(array.tolist())[:-1] + "\n    ]\n}"


def test_rows_need_one_row_an_instance() -> None:
    refusals = {
        "Tensor name: sum has no shape information ": {"sum": np.array(1.0)},
        "Tensor name: a has inconsistent batch size: 1 expecting: 2": {"a": np.zeros(1), "b": np.zeros(2)},
    }
    for words, outputs in refusals.items():
        with pytest.raises(Exception, match=words):
            render(outputs, "row")
    assert json.loads(render(refusals["Tensor name: a has inconsistent batch size: 1 expecting: 2"], "column"))


# rapidjson/internal/dtoa.h, Prettify.
IN_ERRORS = [
    (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (-2.5, "-2.5"), (0.1, "0.1"), (1e-5, "0.00001"), (1.5e-6, "0.0000015"),
    (1e-7, "1e-7"), (1.25e-7, "1.25e-7"), (123456.75, "123456.75"), (1e16, "10000000000000000.0"),
    (1e20, "100000000000000000000.0"), (1e21, "1e21"), (1.5e300, "1.5e300"), (float("inf"), "Infinity"),
    (float("nan"), "NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), IN_ERRORS, ids=str)
def test_numbers_in_errors_are_written_as_the_original_writes_them(value: float, text: str) -> None:
    assert json_document.shown([value]) == f"[{text}]"


@given(st.floats(allow_nan=False))
def test_a_number_in_an_error_is_the_number_that_was_sent(value: float) -> None:
    assert float(json_document.shown(value)) == value


@pytest.mark.parametrize(("dtype", "name"), [("float16", "half"), ("uint16", "uint16"), ("complex64", "complex64")])
def test_what_json_has_no_words_for(dtype: str, name: str) -> None:
    for form in ("row", "column"):
        with pytest.raises(Failed, match=f"^Failed to write JSON value for tensor type: {name}$") as failed:
            render({"y": np.ones(2, dtype)}, form)
        assert failed.value.code == "INVALID_ARGUMENT"
        assert json.loads(render({"y": np.ones(0, dtype)}, form)) in ({"predictions": []}, {"outputs": []})

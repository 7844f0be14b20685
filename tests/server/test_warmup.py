"""Warm-up requests: answered before a version is AVAILABLE, and a reason not to serve if they cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.models import write_half_plus_two
from tests.server.live import Live, wait
from tests.server.samples import write_halves
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.saved_model import SavedModel
from tfsdeploy.server.warmup import FILE, warm_up

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def predict(alias: str = "x", signature: str = "", model: str = "m", version: int = 1) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.model_spec.version.value = version
    request.inputs[alias].CopyFrom(tf.make_tensor_proto([1.0], tf.float32))
    return bytes(log.SerializeToString())


def infer(kind: str, *signatures: str) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, kind).request
    if kind == "multi_inference_log":
        for signature in signatures:
            method = f"tensorflow/serving/{signature.partition('_')[0]}"
            request.tasks.add(model_spec={"name": "m", "signature_name": signature}, method_name=method)
    else:
        request.model_spec.signature_name = signatures[0]
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    return bytes(log.SerializeToString())


def write(path: Path, records: Sequence[bytes]) -> Path:
    """A version's warm-up file."""
    file = path / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return file


@pytest.fixture
def model(tmp_path: Path) -> Iterator[SavedModel]:
    write_half_plus_two(tmp_path / "1")
    loaded = SavedModel(str(tmp_path / "1"))
    yield loaded
    loaded.close()


def test_without_a_file_there_is_nothing_to_do(model: SavedModel, tmp_path: Path) -> None:
    assert warm_up(model, str(tmp_path / "1")) is None


@pytest.mark.parametrize(
    "records",
    [
        [],
        [b""],
        [predict(), predict(), predict()],
        [predict(model="other", version=9)],
        [predict()] * 1000,
    ],
    ids=["no record", "an empty record", "three", "of another model and version", "a thousand"],
)
def test_requests_are_answered(model: SavedModel, tmp_path: Path, records: list[bytes]) -> None:
    write(tmp_path / "1", records)
    assert warm_up(model, str(tmp_path / "1")) == len(records)


def test_each_is_answered_as_often_as_asked(model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[object] = []
    run = SavedModel.run

    def counted(self: SavedModel, *words: Any, **options: Any) -> Any:
        answered.append(words)
        return run(self, *words, **options)

    monkeypatch.setattr(SavedModel, "run", counted)
    write(tmp_path / "1", [predict(), predict()])
    warm_up(model, str(tmp_path / "1"), iterations=3)
    assert len(answered) == 6


@pytest.mark.parametrize(
    ("records", "code", "message"),
    [
        ([predict(signature="nosig")], "FAILED_PRECONDITION", 'Serving signature key "nosig" not found.'),
        ([predict(), predict("zz"), predict()], "INVALID_ARGUMENT", "Inputs expected to be in the request {zz}"),
        ([b"\xff\xff\xff"], "INVALID_ARGUMENT", "Failed to parse warmup record: \ufffd\ufffd\ufffd from FILE"),
        ([predict()] * 1001, "INVALID_ARGUMENT", "Number of warmup records exceeds the maximum (1000) at FILE"),
        ([infer("classify_log", "none")], "INVALID_ARGUMENT", "No signature was found with the name: none"),
        ([infer("classify_log", "serving_default")], "INVALID_ARGUMENT", "No classification inputs found"),
        (
            [prediction_log_pb2.PredictionLog(session_run_log={}).SerializeToString()],
            "UNIMPLEMENTED",
            "Unsupported log_type for warmup: 5",
        ),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(
    model: SavedModel, tmp_path: Path, records: list[bytes], code: str, message: str
) -> None:
    file = write(tmp_path / "1", records)
    with pytest.raises(Failed) as failed:
        warm_up(model, str(tmp_path / "1"))
    assert failed.value.code == code
    assert message.replace("FILE", str(file)) in failed.value.message


def tear(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def scribble(file: Path) -> None:
    file.write_bytes(b"this has never been a file of records")


@pytest.mark.parametrize(("harm", "said"), [(tear, "truncated record at"), (scribble, "corrupted record at 0")])
def test_a_file_that_is_none(model: SavedModel, tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    harm(write(tmp_path / "1", [predict(), predict()]))
    with pytest.raises(Failed, match=said) as failed:
        warm_up(model, str(tmp_path / "1"))
    assert failed.value.code == "DATA_LOSS"
    assert failed.value.message.endswith(". Please verify your warmup data is in TFRecord format.")


def test_examples_are_answered_too(tmp_path: Path) -> None:
    write_halves(tmp_path / "1")
    write(
        tmp_path / "1",
        [
            infer("classify_log", "classify_x_to_y"),
            infer("regress_log", "regress_x_to_y2"),
            infer("multi_inference_log", "classify_x_to_y", "regress_x_to_y"),
        ],
    )
    loaded = SavedModel(str(tmp_path / "1"))
    assert warm_up(loaded, str(tmp_path / "1")) == 3
    loaded.close()


@pytest.mark.parametrize(("flags", "state"), [((), "END"), (("--enable_model_warmup=false",), "AVAILABLE")])
def test_a_version_whose_request_fails_is_not_served(tmp_path: Path, flags: tuple[str, ...], state: str) -> None:
    for version, signature in ((1, ""), (2, "nosig")):
        write_half_plus_two(tmp_path / "m" / str(version))
        write(tmp_path / "m" / str(version), [predict(signature=signature)])
    (tmp_path / "models").write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path}/m" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    words = [f"--model_config_file={tmp_path / 'models'}", "--max_num_load_retries=0", *flags]
    with Live(tmp_path / "log", *words) as server:
        wait(state, lambda: {v: row[0] for v, row in server.states("m").items()} == {1: "AVAILABLE", 2: state})
        if state == "END":
            assert server.states("m")[2][1] == 'Serving signature key "nosig" not found.'
            assert "answered 1 warm-up requests" in server.said()

"""Models of TFLite: a real server, over REST and gRPC, beside the SavedModels that they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, regression_pb2

from tests import lite, models
from tests.server.live import Live, config, specific, wait, write
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.flags import parse
from tfsdeploy.server.loader import Loader
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.pace import WouldWait
from tfsdeploy.server.tflite import LiteModel

FLAGS = ("--prefer_tflite_model", "--max_num_load_retries=0", "--num_tflite_pools=2")


def write_models(folder: Path) -> None:
    """``saved``: a SavedModel; ``same``: its TFLite model beside it; ``other``: one beside a SavedModel unlike it."""
    models.write_keras(folder / "saved" / "1")
    shutil.copytree(folder / "saved" / "1", folder / "same" / "1")
    lite.convert(folder / "saved" / "1", folder / "same" / "1")
    models.write_half_plus_two(folder / "other" / "1")
    lite.write_half_plus_two(folder / "other" / "1", offset=3.0)
    # The rest are TFLite models alone.
    lite.write_two_signatures(folder / "source")
    lite.convert(folder / "source", folder / "signatures" / "1")
    words = tf.constant(["zero", "one", "two"])
    lite.write_function(
        folder / "words" / "1", lambda x: tf.gather(words, x), tf.TensorSpec([None], tf.int32, name="x")
    )
    lite.write_function(
        folder / "column" / "1", lambda x: tf.expand_dims(x, 1), tf.TensorSpec([None], tf.string, name="x")
    )
    write_judge(folder / "judge" / "1")
    write_heavy(folder / "heavy" / "1")
    for version in (2, 3):
        shutil.copytree(folder / "heavy" / "1", folder / "heavy" / str(version))


def write_judge(folder: Path) -> None:
    """Takes examples without a look at them: scores 0.5 and 0.5, and by another signature 3."""

    def judge(inputs: Any) -> Any:
        return tf.fill([tf.shape(inputs)[0], 2], 0.5), tf.fill([tf.shape(inputs)[0]], 3.0)

    lite.write_function(folder, judge, tf.TensorSpec([None], tf.string, name="inputs"))
    (inputs,), (scores, values) = lite.tensors(folder)
    signatures = {
        "serving_default": ("tensorflow/serving/classify", {"inputs": inputs}, {"scores": scores}),
        "regress": ("tensorflow/serving/regress", {"inputs": inputs}, {"outputs": values}),
    }
    lite.sign(folder, signatures)


def write_heavy(folder: Path, mebibytes: int = 16) -> None:
    """So much of constants: ``y = x / 2 + 7``."""
    weights = tf.constant(np.arange(mebibytes << 18, dtype=np.float32))
    lite.write_function(
        folder, lambda x: x * 0.5 + tf.gather(weights, [7]), tf.TensorSpec([None], tf.float32, name="x")
    )


class Place:
    """Folders of models, a configuration file, and a server on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "models.config"
        write_models(folder)
        self.names = ("saved", "same", "other", "signatures", "words", "column", "judge")
        self.configure()
        polled = [f"--model_config_file={self.file}", "--model_config_file_poll_wait_seconds=1"]
        self.server = Live(folder / "log", *polled, *FLAGS)

    def configure(self, **more: str) -> None:
        """Write the configuration: all small models, and these."""
        write(self.file, config(self.folder, **dict.fromkeys(self.names, ""), **more))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("tflite"))
    with place.server:
        for name in place.names:
            place.server.serves(name, 1)
        yield place


@pytest.fixture(scope="module")
def server(place: Place) -> Live:
    return place.server


def asked(server: Live, model: str, document: dict[str, Any], method: str = "predict") -> tuple[int, Any]:
    """What REST answers."""
    code, _, body = server.ask("POST", f"/v1/models/{model}:{method}", json.dumps(document).encode())
    return code, json.loads(body)


def called(server: Live, model: str, signature: str = "", **inputs: Any) -> dict[str, Any]:
    """What gRPC answers to Predict."""
    request = predict_pb2.PredictRequest(model_spec={"name": model, "signature_name": signature})
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answer = predict_pb2.PredictResponse.FromString(predict(request.SerializeToString(), timeout=30))
    return {alias: tf.make_ndarray(value) for alias, value in answer.outputs.items()}


def refused(server: Live, model: str, **inputs: Any) -> tuple[grpc.StatusCode, str]:
    """What gRPC refuses Predict with."""
    with pytest.raises(grpc.RpcError) as error:
        called(server, model, **inputs)
    return error.value.code(), error.value.details()


@pytest.mark.parametrize("rows", [1, 3, 64, 2])
def test_answers_are_those_of_the_saved_model(server: Live, rows: int) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    document = {"instances": values.tolist()}
    (code, found), (_, expected) = asked(server, "same", document), asked(server, "saved", document)
    assert code == 200
    np.testing.assert_allclose(found["predictions"], expected["predictions"], rtol=1e-6)
    (found,), (expected,) = (list(called(server, model, x=values).values()) for model in ("same", "saved"))
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_is_preferred_where_there_is_one(server: Live) -> None:
    assert asked(server, "other", {"instances": [1.0, 2.0]}) == (200, {"predictions": [3.5, 4.0]})


def test_it_is_left_alone_without_the_flag(place: Place) -> None:
    flags, *_ = parse(["--model_name=other"])
    model = Loader(flags, Metrics()).load(str(place.folder / "other" / "1"))
    assert model.run(model.call("serving_default"), {"x": np.float32([1.0])})["y"].tolist() == [2.5]
    model.close()
    with pytest.raises(Failed, match="does not appear to contain a SavedModel bundle"):
        Loader(flags, Metrics()).load(str(place.folder / "words" / "1"))


def test_its_signatures_are_told(server: Live) -> None:
    code, _, body = server.ask("GET", "/v1/models/signatures/metadata")
    signatures = json.loads(body)["metadata"]["signature_def"]["signature_def"]
    assert (code, sorted(signatures)) == (200, ["serving_default", "twice"])
    assert signatures["twice"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signatures["twice"]["inputs"]["x"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert signatures["twice"]["method_name"] == "tensorflow/serving/predict"
    code, _, body = server.ask("GET", "/v1/models/same")
    assert json.loads(body)["model_version_status"][0]["state"] == "AVAILABLE"


def test_signatures_can_be_chosen_in_any_order(server: Live) -> None:
    for rows in ([1.0], [1.0, 2.0, 5.0], [4.0]):
        for signature, expected in (("serving_default", [x + 1 for x in rows]), ("twice", [2 * x for x in rows])):
            document = {"signature_name": signature, "instances": rows}
            assert asked(server, "signatures", document) == (200, {"predictions": expected})
    assert called(server, "signatures", "twice", x=np.float32([3.0]))["z"].tolist() == [6.0]
    code, error = asked(server, "signatures", {"signature_name": "none", "instances": [1.0]})
    assert (code, error) == (400, {"error": 'Serving signature name: "none" not found in signature def'})


def test_strings_go_in_and_out(server: Live) -> None:
    assert asked(server, "words", {"instances": [2, 0]}) == (200, {"predictions": ["two", "zero"]})
    assert asked(server, "column", {"instances": ["", "ünï", {"b64": "AGE="}]}) == (
        200,
        {"predictions": [[""], ["ünï"], ["\0a"]]},
    )
    (found,) = called(server, "column", x=np.array([b"\0\xff", b""], object)).values()
    assert found.tolist() == [[b"\0\xff"], [b""]]


def test_examples_are_classified_and_regressed_where_its_metadata_says_so(server: Live) -> None:
    document = {"examples": [{"a": 1.0}, {"a": 2.0}]}
    assert asked(server, "judge", document, "classify") == (200, {"results": [[["", 0.5], ["", 0.5]]] * 2})
    assert asked(server, "judge", {"signature_name": "regress", **document}, "regress") == (
        200,
        {"results": [3.0, 3.0]},
    )
    request = regression_pb2.RegressionRequest(model_spec={"name": "judge", "signature_name": "regress"})
    request.input.example_list.examples.add()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        regress = channel.unary_unary("/tensorflow.serving.PredictionService/Regress")
        answer = regression_pb2.RegressionResponse.FromString(regress(request.SerializeToString(), timeout=30))
    assert [one.value for one in answer.result.regressions] == [3.0]


def test_what_does_not_fit_is_refused_and_the_next_request_answered(server: Live) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert refused(server, "other", x=np.float64([1.0])) == (
        invalid,
        "Expects arg[0] to be float but double is provided",
    )
    code, words = refused(server, "other", z=np.float32([1.0]))
    assert (code, words.partition("(")[0]) == (invalid, "Signature input alias: x")
    takes = "but the TFLite model takes [?,2] and no empty tensors"
    for shape in ((2, 3), (2,), (1, 2, 2), (0, 2), ()):
        code, words = refused(server, "same", x=np.ones(shape, np.float32))
        shown = ",".join(map(str, shape))
        assert (code, words) == (invalid, f"Input x has shape [{shown}], {takes}")
    # What only the operator sees: there is no word 7.
    code, words = refused(server, "words", x=np.int32([7]))
    assert (code, words.partition(":")[0]) == (grpc.StatusCode.INTERNAL, "Failed to invoke TfLite interpreter")
    assert asked(server, "other", {"instances": ["x"]})[0] == 400
    assert asked(server, "other", {"instances": [1.0]}) == (200, {"predictions": [3.5]})
    assert asked(server, "words", {"instances": [1]}) == (200, {"predictions": ["one"]})


def test_many_ask_at_once_for_batches_of_every_size(server: Live) -> None:
    def ask(number: int) -> bool:
        rows = [float(number)] * (1 + number % 7)
        return asked(server, "other", {"instances": rows}) == (200, {"predictions": [x / 2 + 3 for x in rows]})

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(300)))


def test_nothing_but_the_servers_own_words_is_in_its_log(server: Live) -> None:
    assert "same/1/model.tflite: served by TFLite" in server.said()
    for noise in ("deprecated", "Warning", "Traceback"):
        assert noise not in server.said()


def cut(folder: Path) -> None:
    """A file that was copied only in part."""
    lite.write_half_plus_two(folder)
    file = folder / lite.FILE
    file.write_bytes(file.read_bytes()[:-100])


def unknown(folder: Path) -> None:
    """A model with an operator of TensorFlow itself."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(tf.strings.lower, input_signature=[tf.TensorSpec([None], tf.string)]).get_concrete_function()]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    folder.mkdir(parents=True)
    (folder / lite.FILE).write_bytes(converter.convert())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "Cannot build FlatBufferModel from buffer: The model is not a valid Flatbuffer buffer"),
        (unknown, "Failed to allocate tensors: Select TensorFlow op(s), included in the given model"),
    ],
)
def test_a_file_that_cannot_be_served_leaves_the_version_before_it(
    place: Place, spoil: Callable[[Path], None], said: str
) -> None:
    name = f"mended_{spoil.__name__}"
    lite.write_half_plus_two(place.folder / name / "1", offset=1.0)
    place.configure(**{name: ""})
    place.server.serves(name, 1)
    staged = place.folder / "staged" / name
    spoil(staged)
    staged.rename(place.folder / name / "2")
    wait("the failure", lambda: place.server.states(name).get(2, ("", ""))[0] == "END")
    assert said in place.server.states(name)[2][1]
    assert place.server.available(name) == {1}
    assert asked(place.server, name, {"instances": [1.0]}) == (200, {"predictions": [1.5]})


def test_versions_that_leave_give_their_memory_back(place: Place) -> None:
    """Each change loads and unloads 16 MiB; what the first three leave is the allocator's."""
    server, resident = place.server, []
    for version in (1, 2, 3) * 4:
        place.configure(heavy=specific(version))
        server.serves("heavy", version)
        assert server.predict("heavy", 1.0) == 7.5
        resident.append(server.resident())
    assert max(resident[3:]) < min(resident[:3]) + (48 << 20)


def test_nobody_waits_on_the_event_loop_for_a_request_that_runs(tmp_path: Path) -> None:
    def count(x: Any) -> Any:
        return tf.while_loop(lambda done: done < x[0], lambda done: (done + 1,), (tf.constant(0),))

    lite.write_function(tmp_path, count, tf.TensorSpec([None], tf.int32, name="x"))
    model = LiteModel(str(tmp_path))
    call = model.call("serving_default")
    assert call.pace is None  # it may go round for ever
    (alias,) = (given.alias for given in call.inputs)
    told = False
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(model.run, call, {alias: np.int32([300_000])})
        while not running.done() and not told:
            try:
                model.run(call, {alias: np.int32([1])}, wait=False)
            except WouldWait:
                told = True
        assert [int(value) for value in running.result().values()] == [300_000]
    assert told
    model.close()


def test_requests_are_batched_as_those_of_saved_models(place: Place, tmp_path: Path) -> None:
    (tmp_path / "batching").write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 20000 }")
    flags, *_ = parse([*FLAGS, "--enable_batching", f"--batching_parameters_file={tmp_path / 'batching'}"])
    metrics = Metrics()
    model = Loader(flags, metrics).load(str(place.folder / "other" / "1"))
    call = model.call("serving_default")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: model.run(call, {call.inputs[0].alias: np.float32([x])}), range(8)))
    assert [float(next(iter(answer.values()))[0]) for answer in found] == [x / 2 + 3 for x in range(8)]
    model.close()


def test_the_original_at_its_most_awkward_knows_no_signatures_of_the_converter(place: Place) -> None:
    flags, *_ = parse([*FLAGS, "--like_tfs"])
    model = Loader(flags, Metrics()).load(str(place.folder / "same" / "1"))
    assert set(model.signatures["serving_default"].inputs) == {"serving_default_x"}
    model.close()

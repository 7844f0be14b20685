"""Models of every kind load and answer: what TensorFlow 1 and 2, Keras and training clusters leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests import models
from tests.server.arrays import LIMIT_SECONDS
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import completeness
from tfsdeploy.server.core import Core
from tfsdeploy.server.flags import Flags
from tfsdeploy.server.grpc_predict import Predict
from tfsdeploy.server.loader import Loader
from tfsdeploy.server.manager import Manager
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.rest import Rest
from tfsdeploy.server.saved_model import SavedModel
from tfsdeploy.server.servable import Servable


def write_mirrored(path: Path) -> None:
    """Its devices must be told before TensorFlow begins: that takes a process of its own."""
    code = f"from pathlib import Path; from tests import models; models.write_mirrored(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


KINDS: dict[str, tuple[Callable[[Path], None], list[Any], list[Any]]] = {
    "vocabulary": (models.write_vocabulary, ["two", "none"], [12, 9]),
    "words": (models.write_words, ["two", "none"], [2, 3]),
    "cluster": (models.write_for_parameter_servers, [1.0, 2.5], [3.0, 6.0]),
    "keras": (models.write_keras, [[1.0, 2.0], [0.5, -1.0]], [[5.0], [-1.5]]),
    "mirrored": (write_mirrored, [1.0, 2.0], [4.0, 8.0]),
}
OTHERS = {"ragged": models.write_ragged, "default": models.write_with_default}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    for name, write in {**{name: write for name, (write, _, _) in KINDS.items()}, **OTHERS}.items():
        write(folder / name / "1")
    return folder


@pytest.fixture(scope="module")
def core(folder: Path) -> Iterator[Core]:
    names = [*KINDS, *OTHERS]
    manager: Manager[SavedModel] = Manager(SavedModel, threads=1)
    manager.aspire({name: {1: str(folder / name / "1")} for name in names})

    def settled() -> bool:
        return all(row.state in ("AVAILABLE", "END") for name in names for row in manager.status(name))

    assert manager.wait(settled, LIMIT_SECONDS)
    assert {name: manager.status(name)[0].message for name in names} == dict.fromkeys(names, "")
    yield Core(manager)
    manager.close()


def asked(core: Core, model: str, document: dict[str, Any]) -> tuple[int, Any]:
    reply = Rest(core, Metrics()).handle("POST", f"/v1/models/{model}:predict", {}, json.dumps(document).encode())
    return reply.code, json.loads(reply.body)


def called(core: Core, model: str, **inputs: Any) -> dict[str, Any]:
    request = predict_pb2.PredictRequest(model_spec={"name": model})
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    answer = predict_pb2.PredictResponse.FromString(
        Predict(core, Metrics(), packed=False).answer(request.SerializeToString(), wait=True)
    )
    return {alias: tf.make_ndarray(value).tolist() for alias, value in answer.outputs.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_loads_and_answers(folder: Path, core: Core, kind: str) -> None:
    _, given, expected = KINDS[kind]
    completeness.check(str(folder / kind / "1"))
    assert asked(core, kind, {"instances": given}) == (200, {"predictions": expected})
    (alias,) = core.signatures(kind, None)[1]["serving_default"].inputs
    floats = np.array(given, object if isinstance(given[0], str) else np.float32)
    (answer,) = called(core, kind, **{alias: floats}).values()
    assert answer == expected


def test_a_ragged_output_is_its_parts(core: Core) -> None:
    answer = {"letters": ["h", "i", "y", "o", "u"], "row_splits": [0, 2, 2, 5]}
    assert asked(core, "ragged", {"inputs": ["hi", "", "you"]}) == (200, {"outputs": answer})
    code, refused = asked(core, "ragged", {"instances": ["hi", "", "you"]})
    assert (code, "inconsistent batch size" in refused["error"]) == (400, True)
    assert called(core, "ragged", x=["hi", "you"]) == {
        "letters": [b"h", b"i", b"y", b"o", b"u"], "row_splits": [0, 2, 5],
    }  # fmt: skip


def test_a_signature_that_names_no_tensor_is_refused_when_it_is_asked(core: Core) -> None:
    code, refused = asked(core, "ragged", {"signature_name": "whole", "inputs": ["hi"]})
    assert (code, list(refused)) == (400, ["error"])


def test_an_input_with_a_default_may_be_left_out_over_grpc(core: Core) -> None:
    x = np.array([1.0, 2.0], np.float32)
    assert called(core, "default", x=x) == {"y": [3.0, 6.0]}
    assert called(core, "default", x=x, factor=np.float32(5)) == {"y": [5.0, 10.0]}
    # The original's JSON knows nothing of defaults.
    assert asked(core, "default", {"inputs": {"x": [1.0, 2.0], "factor": 5.0}}) == (200, {"outputs": [5.0, 10.0]})
    assert asked(core, "default", {"inputs": {"x": [1.0]}})[1] == {
        "error": "Missing named input: factor in 'inputs' object."
    }
    with pytest.raises(Failed) as refused:
        called(core, "default", factor=np.float32(5))
    assert refused.value.code == "INVALID_ARGUMENT"
    assert refused.value.message == (
        "Signature input alias: x(feed name: x:0) not found in request and no default value provided. Inputs expected "
        "to be in the request {factor}, or default input alias set: factor"
    )


def test_a_model_whose_file_cannot_be_read_serves_when_it_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "1"
    models.write_half_plus_two(folder)
    file, kept = folder / "saved_model.pb", tmp_path / "kept"
    file.rename(kept)
    file.symlink_to("/proc/self/mem")  # whose beginning nobody can read: EIO
    loader = Loader(Flags(), Metrics())
    manager: Manager[Servable] = Manager(loader.load, threads=2, retries=1000, retry_seconds=0.02)
    manager.aspire({"m": {1: str(folder)}})
    assert manager.wait(lambda: manager.tried("m"), LIMIT_SECONDS)
    assert f"failed: UNKNOWN: {file}; Input/output error\n" in capsys.readouterr().err
    kept.replace(file)
    assert manager.wait(lambda: manager.status("m")[0].state == "AVAILABLE", LIMIT_SECONDS)
    manager.close()


def test_a_warm_up_file_that_cannot_be_read_is_what_the_version_fails_with(tmp_path: Path) -> None:
    models.write_half_plus_two(tmp_path / "1")
    file = tmp_path / "1" / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    file.symlink_to("/proc/self/mem")
    with pytest.raises(Failed) as raised:
        Loader(Flags(), Metrics()).load(str(tmp_path / "1"))
    assert (raised.value.code, raised.value.message) == ("UNKNOWN", f"{file}; Input/output error")


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"saved_model.pb": b"\xff\xfenot a proto"}, "OUT_OF_RANGE", "Read less bytes than requested"),
        ({"saved_model.pbtxt": b"foo"}, "DATA_LOSS", "Can't parse {folder}/saved_model.pbtxt as text proto"),
        ({"export.meta": b"", "export": b""}, "UNIMPLEMENTED", "Session Bundle is deprecated and removed."),
        (
            {"variables": b""},
            "NOT_FOUND",
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            "`saved_model.pb`)\nSpecified file path: {folder}",
        ),
    ],
    ids=["garbage", "text", "session bundle", "nothing"],
)
def test_a_folder_that_is_no_saved_model(files: dict[str, bytes], code: str, words: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Failed) as raised:
        Loader(Flags(), Metrics()).load(str(tmp_path))
    assert (raised.value.code, raised.value.message) == (code, words.format(folder=tmp_path))

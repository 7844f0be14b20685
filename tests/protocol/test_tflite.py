"""What a TFLite file says of itself, read without TensorFlow: signatures of three kinds, and files that are none."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import lite, models
from tfsdeploy.protocol import tflite
from tfsdeploy.protocol.tflite import Model, NoTFLite


def read(folder: Path, *, converters: bool = True) -> Model:
    return tflite.read((folder / lite.FILE).read_bytes(), converters=converters)


def told(model: Model) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Of each signature the names of its tensors, by alias."""
    return {
        name: tuple(  # type: ignore[misc]
            {alias: info.name for alias, info in sorted(infos.items())}
            for infos in (signature.definition.inputs, signature.definition.outputs)
        )
        for name, signature in model.signatures.items()
    }


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("half")
    lite.write_half_plus_two(folder)
    return (folder / lite.FILE).read_bytes()


def test_signatures_are_those_that_the_converter_wrote(tmp_path: Path) -> None:
    models.write_constant(tmp_path / "saved", 5.0)
    lite.convert(tmp_path / "saved", tmp_path)
    model = read(tmp_path)
    assert list(told(model)) == ["serving_default"]
    signature = model.signatures["serving_default"]
    assert (set(signature.inputs), set(signature.outputs), signature.shapes) == ({"x"}, {"y"}, {"x": (-1,)})
    assert signature.definition.method_name == "tensorflow/serving/predict"
    assert signature.definition.inputs["x"].tensor_shape.dim[0].size == -1
    assert (model.straight, model.operators > 0) == (True, True)


def test_the_original_makes_one_of_the_tensors_names_instead(tmp_path: Path) -> None:
    models.write_constant(tmp_path / "saved", 5.0)
    lite.convert(tmp_path / "saved", tmp_path)
    (inputs,), (outputs,) = lite.tensors(tmp_path)
    assert (inputs, outputs) == ("serving_default_x:0", "StatefulPartitionedCall:0")
    assert told(read(tmp_path, converters=False)) == {
        "serving_default": ({"serving_default_x": inputs}, {"StatefulPartitionedCall": outputs})
    }


def test_without_any_signature_one_is_made_up(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None, 2], tf.float32, name="x")
    lite.write_function(tmp_path, lambda x: (x + 1.0, x * 2.0), spec)
    (inputs,), outputs = lite.tensors(tmp_path)
    aliases = {name: name for name in outputs}  # they differ after the colon alone
    assert told(read(tmp_path)) == {"serving_default": ({inputs.partition(":")[0]: inputs}, aliases)}


def test_several_signatures_are_several_subgraphs(tmp_path: Path) -> None:
    lite.write_two_signatures(tmp_path / "saved")
    lite.convert(tmp_path / "saved", tmp_path)
    model = read(tmp_path)
    assert {name: signature.subgraph for name, signature in model.signatures.items()} == {
        "serving_default": 0, "twice": 1,
    }  # fmt: skip
    assert not model.straight


def test_metadata_counts_above_everything_and_may_leave_out_the_numbers_of_tensors(tmp_path: Path) -> None:
    lite.write_half_plus_two(tmp_path)
    (inputs,), (outputs,) = lite.tensors(tmp_path)
    long = "a" * 200  # its length is no text
    lite.sign(tmp_path, {"mine": ("tensorflow/serving/regress", {long: f"{inputs}:0"}, {"outputs": outputs})})
    for converters in (True, False):
        model = read(tmp_path, converters=converters)
        assert told(model) == {"mine": ({long: inputs}, {"outputs": outputs})}
        definition = model.signatures["mine"].definition
        assert definition.method_name == "tensorflow/serving/regress"
        assert definition.inputs[long].dtype == tf.float32.as_datatype_enum


def test_metadata_that_names_no_tensor_is_refused(tmp_path: Path) -> None:
    lite.write_half_plus_two(tmp_path)
    lite.sign(tmp_path, {"mine": ("", {"x": "away"}, {})})
    with pytest.raises(NoTFLite, match="names a tensor that is not there: 'away'"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"nothing at all", bytes(1000)])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(NoTFLite, match="it is no TFLite model"):
        tflite.read(content)


def test_a_file_that_was_cut_short_is_refused(half: bytes) -> None:
    for length in range(8, len(half) - 32, 7):
        with pytest.raises(NoTFLite):
            tflite.read(half[:length])


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(half: bytes, data: st.DataObject) -> None:
    places = st.integers(8, len(half) - 1)
    damaged = bytearray(half)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        damaged[place] = byte
    with suppress(NoTFLite):
        tflite.read(bytes(damaged))

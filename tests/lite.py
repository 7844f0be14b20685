"""Tiny TFLite models for tests: SavedModels converted, and functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FILE = "model.tflite"


def convert(saved_model: Path, folder: Path) -> None:
    """Write a SavedModel's signatures as a TFLite model into a folder."""
    import tensorflow as tf

    names = [name for name in tf.saved_model.load(str(saved_model)).signatures if not name.startswith("__")]
    _write(folder, tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=names))


def write_function(folder: Path, function: Callable[..., Any], *specs: Any) -> None:
    """Write a function of tensors as a TFLite model, which gets no signature that way."""
    import tensorflow as tf

    concrete = tf.function(function, input_signature=specs).get_concrete_function()
    _write(folder, tf.lite.TFLiteConverter.from_concrete_functions([concrete]))


def write_half_plus_two(folder: Path, offset: float = 2.0) -> None:
    """``y = x / 2 + offset``, of a function."""
    import tensorflow as tf

    write_function(folder, lambda x: x * 0.5 + offset, tf.TensorSpec([None], tf.float32, name="x"))


def write_two_signatures(path: Path) -> None:
    """A TensorFlow 2 SavedModel of two signatures: ``serving_default``, ``y = x + 1``, and ``twice``, ``z = 2 x``."""
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, name="x")
    module.add = tf.function(lambda x: {"y": x + 1.0}, input_signature=[spec])
    module.twice = tf.function(lambda x: {"z": x * 2.0}, input_signature=[spec])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.add, "twice": module.twice})


def sign(folder: Path, signatures: Mapping[str, tuple[str, Mapping[str, str], Mapping[str, str]]]) -> None:
    """Put SignatureDefs into a TFLite model's metadata, as lite/tools/signature does.

    Args:
        folder: that of the model.
        signatures: name -> method, and the names of the tensors of inputs and outputs by alias.
    """
    import flatbuffers
    from flatbuffers import flexbuffers
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
    from tensorflow.lite.python import schema_py_generated as schema

    packed = flexbuffers.Builder()
    with packed.Map():
        for name, (method, inputs, outputs) in sorted(signatures.items()):
            definition = SignatureDef(method_name=method)
            for infos, tensors in ((definition.inputs, inputs), (definition.outputs, outputs)):
                for alias, tensor in tensors.items():
                    infos[alias].name = tensor
            packed.Key(name)
            # A string, as C++ writes it; of Python's `String` only text can be one.
            packed._WriteBlob(definition.SerializeToString(), append_zero=True, type_=flexbuffers.Type.STRING)
    file = folder / FILE
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(file.read_bytes()), 0))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(packed.Finish())
    entry.name, entry.buffer = "signature_defs_metadata", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    model.signatureDefs = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    file.write_bytes(bytes(builder.Output()))


def tensors(folder: Path) -> tuple[Sequence[str], Sequence[str]]:
    """The names of a model's inputs and outputs."""
    import tensorflow as tf

    lite = tf.lite.Interpreter(model_path=str(folder / FILE))
    return ([one["name"] for one in lite.get_input_details()], [one["name"] for one in lite.get_output_details()])


def _write(folder: Path, converter: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(converter.convert())

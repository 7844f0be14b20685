"""Our messages and TensorFlow's own are the same on the wire."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tests.protocol import generate_wire
from tfsdeploy.protocol import wire, wire_pb2

pytest.importorskip("tensorflow")

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2, tensor_bundle_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

PAIRS: list[tuple[type[Message], Any]] = [
    (wire.PredictRequest, predict_pb2.PredictRequest),
    (wire.PredictResponse, predict_pb2.PredictResponse),
    (wire.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
    (wire.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
    (wire.GetModelMetadataRequest, get_model_metadata_pb2.GetModelMetadataRequest),
    (wire.GetModelMetadataResponse, get_model_metadata_pb2.GetModelMetadataResponse),
    (wire.SignatureDefMap, get_model_metadata_pb2.SignatureDefMap),
    (wire.SavedModel, saved_model_pb2.SavedModel),
    (wire.BundleEntryProto, tensor_bundle_pb2.BundleEntryProto),
    (wire.BundleHeaderProto, tensor_bundle_pb2.BundleHeaderProto),
]

# What we leave as bytes may be a message there, and a number an enum: the same on the wire.
KINDS = {
    FieldDescriptor.TYPE_BYTES: {FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE},
    FieldDescriptor.TYPE_INT32: {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM},
}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda message: message.DESCRIPTOR.full_name)
def test_every_field_has_tensorflows_number_and_type(ours: Any, theirs: Any) -> None:
    _compare(ours.DESCRIPTOR, theirs.DESCRIPTOR, set())


def test_the_graph_of_the_example_has_tensorflows_fields() -> None:
    from tensorflow.core.framework import graph_pb2

    _compare(wire.GraphDef.DESCRIPTOR, graph_pb2.GraphDef.DESCRIPTOR, set())


def _compare(ours: Descriptor, theirs: Descriptor, seen: set[str]) -> None:
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        other = theirs.fields_by_number.get(field.number)
        where = f"{ours.full_name}.{field.name}"
        assert other is not None, where
        assert field.name == other.name, where
        assert field.is_repeated == other.is_repeated, where
        assert other.type in KINDS.get(field.type, {field.type}), where
        if field.message_type is not None:
            _compare(field.message_type, other.message_type, seen)


def test_dtypes_are_tensorflows() -> None:
    assert dict(types_pb2.DataType.items()).items() >= dict(wire.DataType.items()).items()


@pytest.mark.parametrize("version", [None, 2**53 - 1])
@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_INT8", "DT_INT64", "DT_BOOL", "DT_STRING", "DT_UINT64"])
def test_tensorflow_reads_what_we_write(dtype: str, version: int | None) -> None:
    import tensorflow as tf

    values: list[Any] = [["a", "b"]] if dtype == "DT_STRING" else [[1, 0]]
    request = wire.PredictRequest()
    request.model_spec.name = "ranker"
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["x"].CopyFrom(wire.tensor(values, dtype))
    read = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert read.model_spec.name == "ranker"
    assert read.model_spec.HasField("version") == (version is not None)
    assert read.model_spec.version.value == (version or 0)
    array = tf.make_ndarray(read.inputs["x"])
    assert array.shape == (1, 2)
    assert array.flatten().tolist() == ([b"a", b"b"] if dtype == "DT_STRING" else [1, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32", "int64", "uint8", "uint64", "bool", "str"])
def test_we_read_what_tensorflow_writes(dtype: str) -> None:
    import numpy as np
    import tensorflow as tf

    array = np.array([[1, 0, 1]]).astype(dtype)
    message = wire.TensorProto.FromString(tf.make_tensor_proto(array).SerializeToString())
    expected = [text.encode() for text in array.flatten()] if dtype == "str" else array.flatten().tolist()
    assert wire.tensor_values(message) == expected


def test_what_is_checked_in_is_what_the_proto_file_says(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    (tmp_path / "tfsdeploy" / "protocol").mkdir(parents=True)
    generate_wire.generate(tmp_path)
    assert _descriptor(tmp_path / "tfsdeploy/protocol/wire_pb2.py") == wire_pb2.DESCRIPTOR.serialized_pb


def _descriptor(module: Path) -> bytes:
    """The serialized descriptor in a generated module, without running it: a process can have it only once."""
    calls = (node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call))
    made = next(call for call in calls if ast.unparse(call.func).endswith("AddSerializedFile"))
    return bytes(ast.literal_eval(made.args[0]))

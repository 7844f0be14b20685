"""Arrays as messages and back, bit by bit: every dtype, every shape, typed values and packed ones."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes  # what TensorFlow itself has its bfloat16 from
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from tensorflow.core.framework import tensor_pb2, types_pb2

from tests.server.arrays import identity
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import proto_tensor
from tfsdeploy.server.proto_tensor import Array

DTYPES = (
    np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16,
    np.uint32, np.uint64, np.bool_, np.complex64, np.complex128, np.object_,
)  # fmt: skip
SHAPES = st.just(()) | array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3)


@st.composite
def arrays(draw: st.DrawFn, dtype: Any) -> Array:
    """Any bits, so that there are NaNs, infinities, subnormal numbers and zeros of both signs."""
    shape = draw(SHAPES)
    kind, size = np.dtype(dtype), math.prod(shape)
    if kind.kind == "O":
        array = np.empty(size, dtype=object)
        array[:] = draw(st.lists(st.binary(max_size=4), min_size=size, max_size=size))
        return array.reshape(shape)
    length = size * kind.itemsize
    content = draw(st.binary(min_size=length, max_size=length))
    if kind.kind == "b":
        content = bytes(byte & 1 for byte in content)
    return np.frombuffer(content, kind).reshape(shape)


def read(message: tensor_pb2.TensorProto, dtype: Any) -> Array:
    (array,) = proto_tensor.inputs_of({"x": message}, identity(dtype).call("serving_default")).values()
    return array


def assert_same(found: Array, array: Array) -> None:
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if array.dtype.kind == "O":
        assert found.tolist() == array.tolist()
        return
    parts = {"complex64": np.float32, "complex128": np.float64}.get(array.dtype.name)
    one, other = (np.ascontiguousarray(each).ravel().view(parts or array.dtype) for each in (found, array))
    # Which of its many NaNs it is, a number may lose on its way through a double.
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(one != one, other != other)
        there = other == other
    assert one[there].tobytes() == other[there].tobytes()


@pytest.mark.parametrize("packed", [False, True], ids=["typed", "packed"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@settings(max_examples=40)
@given(data=st.data())
def test_what_is_answered_is_read_the_same_by_server_and_client(dtype: Any, packed: bool, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype))
    message = tensor_pb2.TensorProto.FromString(b"".join(proto_tensor.encoded(array, packed=packed)))
    assert bool(message.tensor_content) == (packed and array.size > 0 and np.dtype(dtype).kind != "O")
    assert_same(read(message, dtype), array)
    assert_same(np.asarray(tf.make_ndarray(message)), array)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@settings(max_examples=40)
@given(data=st.data())
def test_what_clients_send_is_read_as_it_was(dtype: Any, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype))
    assert_same(read(tf.make_tensor_proto(array, dtype=tf.as_dtype(array.dtype), shape=array.shape), dtype), array)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@settings(max_examples=40)
@given(data=st.data())
def test_one_value_stands_for_all(dtype: Any, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype).filter(lambda array: array.size > 0))
    one = array.ravel()[:1]
    message = proto_tensor.tensor_of(one)
    message.tensor_shape.ClearField("dim")
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    assert_same(read(message, dtype), np.resize(one, array.shape))


ANY_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool_val": st.booleans(),
    "string_val": st.binary(max_size=3),
    "int_val": st.integers(-(2**31), 2**31 - 1) | st.integers(-130, 300),
    "half_val": st.integers(-(2**31), 2**31 - 1) | st.integers(0, 2**16 - 1),
    "int64_val": st.integers(-(2**63), 2**63 - 1),
    "uint32_val": st.integers(0, 2**32 - 1),
    "uint64_val": st.integers(0, 2**64 - 1),
}


@st.composite
def messages(draw: st.DrawFn, dtype: Any) -> tensor_pb2.TensorProto:
    """What a client may send that has its own idea of the format: too much, too little, out of range."""
    message = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum)
    sizes = draw(st.lists(st.sampled_from((0, 1, 1, 2, 2, 3, 3, -1)), max_size=3))
    message.tensor_shape.dim.extend(message.tensor_shape.Dim(size=size) for size in sizes)
    elements = max(0, math.prod(sizes))
    about = st.integers(max(0, elements - 1), elements + 1) | st.integers(0, 2)
    if draw(st.booleans()):
        values = ANY_VALUES.get(proto_tensor._FIELDS[np.dtype(dtype).name], st.floats(width=32))
        count = draw(about) * (2 if np.dtype(dtype).kind == "c" else 1) + draw(st.sampled_from((0, 0, 1)))
        getattr(message, proto_tensor._FIELDS[np.dtype(dtype).name]).extend(
            draw(st.lists(values, min_size=count, max_size=count))
        )
    elif np.dtype(dtype).kind == "O":
        texts = draw(st.lists(st.binary(max_size=3), min_size=elements, max_size=elements))
        message.tensor_content = bytes(map(len, texts)) + b"".join(texts) + draw(st.sampled_from((b"", b"", b"x")))
    else:
        length = elements * np.dtype(dtype).itemsize + draw(st.sampled_from((0, 0, 0, 1)))
        bytes_of = st.binary if np.dtype(dtype).kind != "b" else _bools
        message.tensor_content = draw(bytes_of(min_size=length, max_size=length))
    return message


def _bools(*, min_size: int, max_size: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from((0, 1, 1, 0, 1, 0, 2)), min_size=min_size, max_size=max_size).map(bytes)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@settings(max_examples=40)
@given(data=st.data())
def test_what_nobody_should_send_is_read_as_tensorflow_reads_it(dtype: Any, data: st.DataObject) -> None:
    message = data.draw(messages(dtype))
    try:
        read_by_tensorflow = tf.io.parse_tensor(message.SerializeToString(), tf.as_dtype(dtype)).numpy()
    except tf.errors.InvalidArgumentError:
        with pytest.raises(Failed, match=r"^tensor parsing error: x$"):
            read(message, dtype)
        return
    if not isinstance(read_by_tensorflow, np.ndarray):
        read_by_tensorflow = np.array(read_by_tensorflow, np.dtype(dtype))
    assert_same(read(message, dtype), read_by_tensorflow)


@pytest.mark.parametrize(
    "dtype", [np.float32, np.int64, np.bool_, np.int16, np.object_], ids=lambda d: np.dtype(d).name
)
@pytest.mark.parametrize(
    "sizes",
    [(1,) * 65, (1,) * 254, (0, 2**62, 4), (2**62, 0, 4), (2**40, 2**40, 0)],
    ids=["65 dimensions", "254 dimensions", "none, of many", "many, of none", "too many, of none"],
)
def test_a_shape_beyond_numpy_s_limits_is_refused(dtype: Any, sizes: tuple[int, ...]) -> None:
    """Some of them TensorFlow would take: docs/server.md lists that."""
    values = np.array([b"1"] * (0 not in sizes), dtype=object).astype(dtype)
    message = proto_tensor.tensor_of(values)
    message.tensor_shape.ClearField("dim")
    message.tensor_shape.dim.extend(message.tensor_shape.Dim(size=size) for size in sizes)
    with pytest.raises(Failed, match=r"^tensor parsing error: x$") as failed:
        read(message, dtype)
    assert failed.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("DT_VARIANT", "Expects arg[0] to be float but variant is provided"),
        ("DT_QINT8", "Expects arg[0] to be float but qint8 is provided"),
        ("DT_QUINT16", "Expects arg[0] to be float but quint16 is provided"),
        ("DT_HALF", "Expects arg[0] to be float but half is provided"),
        ("DT_COMPLEX128", "Expects arg[0] to be float but complex128 is provided"),
        ("DT_STRING", "Expects arg[0] to be float but string is provided"),
        ("DT_INVALID", "tensor parsing error: x"),
        ("DT_FLOAT_REF", "tensor parsing error: x"),
        ("DT_RESOURCE", proto_tensor.NO_RESOURCE),
    ],
)
@pytest.mark.parametrize("sizes", [(), (2, 0), (2, 3)])
def test_what_a_model_does_not_take_is_called_by_tensorflow_s_name(dtype: str, said: str, sizes: Any) -> None:
    message = tensor_pb2.TensorProto(dtype=getattr(types_pb2, dtype))
    message.tensor_shape.dim.extend(message.tensor_shape.Dim(size=size) for size in sizes)
    with pytest.raises(Failed) as failed:
        read(message, np.float32)
    if dtype == "DT_RESOURCE" and 0 in sizes:
        said = "Expects arg[0] to be float but resource is provided"
    assert (failed.value.code, failed.value.message) == ("INVALID_ARGUMENT", said)

"""gRPC predict messages to arrays and back, with the checks and words of the original (servables/tensorflow)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.dtype_names import name_of
from tfsdeploy.server.pace import SMALL_BYTES, WouldWait

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Call

Array = np.ndarray[Any, Any]

MAX_BYTES = 1 << 31
"""What a tensor may take: more than any message can carry. One value may stand for all of a shape, and where memory is
promised before it is there (vm.overcommit_memory=1, as on every Kubernetes node) some bytes would end the server."""

_FIELDS = {
    "float32": "float_val", "float64": "double_val", "int64": "int64_val", "bool": "bool_val",
    "uint32": "uint32_val", "uint64": "uint64_val", "int32": "int_val", "int16": "int_val",
    "int8": "int_val", "uint8": "int_val", "uint16": "int_val", "object": "string_val",
    "float16": "half_val", "bfloat16": "half_val", "complex64": "scomplex_val", "complex128": "dcomplex_val",
}  # fmt: skip

# As messages have them, but no model that this server answers for.
_RARE_FIELDS = {"float8_e5m2": "float8_val", "float8_e4m3fn": "float8_val"}

_NUMBERS: Mapping[int, tuple[np.dtype[Any], str]] = {
    types_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types_pb2.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    types_pb2.DT_INT32: (np.dtype(np.int32), "int_val"),
    types_pb2.DT_INT64: (np.dtype(np.int64), "int64_val"),
    types_pb2.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
}

_REFERENCES = 100
"""DataTypes from here on are references to variables (framework/types.proto)."""

NO_RESOURCE = (
    "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was being provided as a feed? That "
    "is not currently allowed. Please file an issue at https://github.com/tensorflow/tensorflow/issues/new, ideally "
    "with a short code snippet that leads to this error message."
)

# What nobody can send, by the name that the refusal has.
_OPAQUE = {
    types_pb2.DT_RESOURCE: np.dtype([("resource", object)]),
    types_pb2.DT_VARIANT: np.dtype([("variant", object)]),
}

# What packed values of a typed field are is what the array's memory is: dtype and number of the field.
_COMMON = {"f": (types_pb2.DT_FLOAT, 5), "d": (types_pb2.DT_DOUBLE, 6)} if sys.byteorder == "little" else {}
_TENSOR_CONTENT = 4

_COPIED = 2**16
"""Bytes: below it a copy is quicker than a view."""

# Some dtypes travel as another one (framework/tensor.proto).
_VIEWS = {"float16": np.uint16, "bfloat16": np.uint16, "complex64": np.float32, "complex128": np.float64}


def inputs_of(tensors: Mapping[str, Any], call: Call, *, wait: bool = True) -> dict[str, Array]:
    """The input arrays of a PredictRequest (predict_util.cc).

    Args:
        tensors: the messages, by alias.
        call: whose inputs.
        wait: also for arrays that are much larger than their messages.

    Raises:
        Failed: INVALID_ARGUMENT.
        WouldWait: one is, and ``wait`` is not set.
    """
    if len(tensors) != len(call.inputs) and (len(tensors) > len(call.inputs) or not call.defaults):
        wanted, sent = {given.alias for given in call.inputs}, set(tensors)
        raise _wrong(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. Missing but required: {_set(wanted - sent)}."
        )
    arrays = {}
    for given in call.inputs:
        if given.alias not in tensors:
            if given.alias in call.defaults:
                arrays[given.alias] = call.defaults[given.alias]
                continue
            raise _wrong(
                f"Signature input alias: {given.alias}(feed name: {given.tensor}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_set(tensors)}, or default input alias set: "
                f"{','.join(sorted(call.defaults))}"
            )
        arrays[given.alias] = _array(given.alias, tensors[given.alias], wait)
    for at, given in enumerate(call.inputs):
        found = arrays[given.alias].dtype
        if found != given.dtype and name_of(found) != name_of(given.dtype):
            raise _wrong(f"Expects arg[{at}] to be {name_of(given.dtype)} but {name_of(found)} is provided")
    return arrays


def filtered(asked: list[str], there: list[str]) -> list[str]:
    """The outputs that an ``output_filter`` leaves; all without one.

    Raises:
        Failed: INVALID_ARGUMENT: one that is not there, or twice.
    """
    for at, alias in enumerate(asked):
        if alias not in there:
            raise _wrong(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {_set(there)}."
            )
        if alias in asked[:at]:
            raise _wrong(f"duplicate output tensor alias: {alias}")
    return asked or there


def encoded(array: Array, *, packed: bool = False) -> tuple[bytes | memoryview, ...]:
    """`tensor_of`, serialized, in pieces; values of the common dtypes as they lie in memory, not copied if large."""
    common = _COMMON.get(array.dtype.char)
    if common is None:
        return (bytes(tensor_of(array, packed=packed).SerializeToString()),)
    number, field = common
    head = _head(number, array.shape)
    if not array.size:
        return (head,)
    head += begin(_TENSOR_CONTENT if packed else field, array.nbytes)
    if array.nbytes < _COPIED:
        return head, array.tobytes()
    return head, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@lru_cache(maxsize=256)
def _head(dtype: int, shape: tuple[int, ...]) -> bytes:
    message = tensor_pb2.TensorProto(dtype=dtype)
    message.tensor_shape.SetInParent()
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return bytes(message.SerializeToString())


def begin(number: int, size: int) -> bytes:
    """What comes before a field's content (protobuf.dev/programming-guides/encoding).

    Args:
        number: the field's, below 16.
        size: of its content, in bytes.
    """
    length = bytearray()
    while size >= 128:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2, *length))


def part(number: int, content: bytes) -> bytes:
    """A field of a message, with its content; number: below 16."""
    return begin(number, len(content)) + content


def tensor_of(array: Array, *, packed: bool = False) -> tensor_pb2.TensorProto:
    """An array as the original answers it: values in the typed fields, or ``packed`` in ``tensor_content``."""
    field = _FIELDS.get(array.dtype.name)
    if field is None:
        return tf.make_tensor_proto(array)
    message = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    message.tensor_shape.SetInParent()
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if packed and field != "string_val":
        message.tensor_content = array.tobytes()
        return message
    flat = np.ascontiguousarray(array).ravel()
    view = _VIEWS.get(array.dtype.name)
    getattr(message, field).extend((flat if view is None else flat.view(view)).tolist())
    return message


def _array(alias: str, message: Any, wait: bool) -> Array:
    try:
        quickly = _quickly(message)
    except ValueError:
        quickly = None  # a shape beyond numpy's limits, which is refused below
    return _carefully(alias, message, wait) if quickly is None else quickly


def _quickly(message: Any) -> Array | None:
    """What most clients send: as many numbers as the shape says; packed ones are not copied. None: something else."""
    known = _NUMBERS.get(message.dtype)
    if known is None:
        return None
    dtype, field = known
    shape = tuple(dim.size for dim in message.tensor_shape.dim)
    elements = math.prod(shape)
    content = message.tensor_content
    values = getattr(message, field)
    if content:
        # Not every byte is a bool.
        if len(content) == elements * dtype.itemsize and min(shape, default=0) >= 0 and field != "bool_val":
            return np.frombuffer(content, dtype).reshape(shape)
    elif len(values) == elements and min(shape, default=0) >= 0:
        return np.fromiter(values, dtype, elements).reshape(shape)
    return None


def _carefully(alias: str, message: Any, wait: bool) -> Array:
    try:
        shape = tuple(dim.size for dim in message.tensor_shape.dim)
        if min(shape, default=0) < 0 or message.dtype > _REFERENCES:
            raise ValueError
        elements = math.prod(shape)
        opaque = _OPAQUE.get(message.dtype)
        if message.dtype == types_pb2.DT_RESOURCE and elements:
            raise _wrong(NO_RESOURCE)
        dtype = opaque or np.dtype(tf.as_dtype(message.dtype).as_numpy_dtype)
        if elements * dtype.itemsize > MAX_BYTES:
            raise MemoryError
        if not wait and elements > SMALL_BYTES:
            raise WouldWait  # one value stands for all of them
        if opaque is not None or not elements:
            return np.zeros(shape, dtype)
        values = _packed(message, dtype, elements) if message.tensor_content else _typed(message, dtype, elements)
        return _filled(values, elements).reshape(shape)
    except (TypeError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise _wrong(f"tensor parsing error: {alias}") from error


def _packed(message: Any, dtype: np.dtype[Any], elements: int) -> Array:
    """The values of ``tensor_content``, which must be as many as the shape says."""
    content = message.tensor_content
    if dtype.hasobject:
        return _texts(content, elements)
    if len(content) != elements * dtype.itemsize or (dtype.kind == "b" and max(content) > 1):
        raise ValueError
    return np.frombuffer(content, dtype)


def _texts(content: bytes, elements: int) -> Array:
    """Strings as they are packed: the lengths of all, as varints, and then all that they are (framework/tensor.cc)."""
    at, lengths = 0, []
    for _ in range(elements):
        length = shift = 0
        while True:
            if at == len(content) or shift > 28:
                raise ValueError
            length |= (content[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if content[at - 1] < 128:
                break
        lengths.append(length & 0xFFFFFFFF)
    if sum(lengths) != len(content) - at:
        raise ValueError
    ends = [*accumulate(lengths, initial=at)]
    return _objects([content[begin:end] for begin, end in pairwise(ends)])


def _typed(message: Any, dtype: np.dtype[Any], elements: int) -> Array:
    """The first values of the field that is the dtype's, no more than the shape says; those of whole numbers wrap."""
    name = dtype.name if dtype.names is None else dtype[0].name
    field = _FIELDS.get(name) or _RARE_FIELDS.get(name, "int_val")
    values = getattr(message, field)
    if field == "float8_val":
        return np.frombuffer(values[:elements], dtype)
    if field == "string_val":
        return _objects(values[:elements])
    if dtype.kind == "c":
        parts = np.array(values[: 2 * elements], _VIEWS[name])
        return parts[: len(parts) // 2 * 2].view(dtype)
    if field == "half_val":
        return np.array(values[:elements], np.int32).astype(np.uint16).view(dtype)
    if field == "int_val":
        whole = np.array(values[:elements], np.int32)
        return whole.astype(dtype) if dtype.names is None else whole.astype(dtype[0]).view(dtype)
    return np.array(values[:elements], dtype)


def _objects(values: Sequence[bytes]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _filled(values: Array, elements: int) -> Array:
    """As many values as there are elements: the last one stands for those that are missing, zero or "" for all."""
    if not len(values):
        values = _objects([b""]) if values.dtype.hasobject else np.zeros(1, values.dtype)
    missing = elements - len(values)
    return np.concatenate((values, np.repeat(values[-1:], missing))) if missing else values


def _set(aliases: Any) -> str:
    return "{" + ",".join(sorted(aliases)) + "}"


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

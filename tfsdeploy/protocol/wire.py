"""TensorFlow Serving's messages without TensorFlow: what clients send, what a SavedModel says of itself."""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from tfsdeploy.protocol.wire_pb2 import (
    AttrValue,
    BundleEntryProto,
    BundleHeaderProto,
    DataType,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    GraphDef,
    MetaGraphDef,
    ModelSpec,
    ModelVersionStatus,
    NodeDef,
    PredictRequest,
    PredictResponse,
    SavedModel,
    SignatureDef,
    SignatureDefMap,
    TensorInfo,
    TensorProto,
    TensorShapeProto,
    VersionDef,
)

__all__ = [
    "GET_MODEL_METADATA",
    "GET_MODEL_STATUS",
    "PREDICT",
    "AttrValue",
    "BundleEntryProto",
    "BundleHeaderProto",
    "DataType",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "GraphDef",
    "MetaGraphDef",
    "ModelSpec",
    "ModelVersionStatus",
    "NodeDef",
    "PredictRequest",
    "PredictResponse",
    "SavedModel",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "TensorProto",
    "TensorShapeProto",
    "VersionDef",
    "tensor",
    "tensor_values",
]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

# TensorFlow's own limit (TensorShape::MaxDimensions).
MAX_RANK = 254

# dtype -> (field, array type code of `tensor_content`); tensorflow/core/framework/tensor.proto
_FIELDS = {
    "DT_FLOAT": ("float_val", "f"),
    "DT_DOUBLE": ("double_val", "d"),
    "DT_INT32": ("int_val", "i"),
    "DT_INT16": ("int_val", "h"),
    "DT_INT8": ("int_val", "b"),
    "DT_UINT8": ("int_val", "B"),
    "DT_UINT16": ("int_val", "H"),
    "DT_INT64": ("int64_val", "q"),
    "DT_UINT32": ("uint32_val", "I"),
    "DT_UINT64": ("uint64_val", "Q"),
    "DT_BOOL": ("bool_val", "?"),
    "DT_STRING": ("string_val", ""),
}


def tensor(values: Any, dtype: str = "DT_FLOAT") -> TensorProto:
    """A tensor of nested lists.

    Args:
        values: a scalar or lists of lists, all of one shape; strings may be ``str`` or ``bytes``.
        dtype: the name of its `DataType`.

    Raises:
        ValueError: the lists are ragged, a value does not fit the dtype, or the dtype cannot be written here.
    """
    if dtype not in _FIELDS:
        raise ValueError(f"{dtype} cannot be sent from here; it can be one of {', '.join(_FIELDS)}")
    field, code = _FIELDS[dtype]
    shape, flat = _flatten(values)
    made = TensorProto(dtype=dtype)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    try:
        # The array, because int8 to uint16 travel as int32, which would take what the dtype cannot hold.
        elements = flat if code in ("", "?") else array.array(code, flat)
        getattr(made, field).extend(map(_bytes, elements) if dtype == "DT_STRING" else elements)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{dtype}: {error}") from error
    return made


def tensor_values(message: TensorProto) -> list[Any]:
    """A tensor's elements, flat, in row-major order; one that stands for all is repeated.

    Raises:
        ValueError: a dtype that cannot be read here.
    """
    name = DataType.Name(message.dtype)
    if name not in _FIELDS:
        raise ValueError(f"{name} cannot be read here")
    field, code = _FIELDS[name]
    count = 1
    for dim in message.tensor_shape.dim:
        count *= dim.size
    if message.tensor_content and code:
        if code == "?":
            return list(struct.unpack(f"{len(message.tensor_content)}?", message.tensor_content))
        elements = array.array(code, message.tensor_content)
        if sys.byteorder == "big":
            elements.byteswap()
        return list(elements)
    values = list(getattr(message, field))
    return values + values[-1:] * (count - len(values)) if values else values


def _flatten(values: Any, rank: int = 0) -> tuple[list[int], list[Any]]:
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return [], [values]
    if rank == MAX_RANK:
        raise ValueError(f"the lists are nested more than {MAX_RANK} deep")
    inner = [_flatten(value, rank + 1) for value in values]
    if any(shape != inner[0][0] for shape, _ in inner):
        raise ValueError("the lists have different lengths, so they are no tensor")
    flat: Iterable[Any] = (element for _, elements in inner for element in elements)
    return [len(values), *(inner[0][0] if inner else [])], list(flat)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{value!r} is no text")

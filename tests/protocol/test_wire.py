"""Tensors of nested lists and back, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.protocol.wire import TensorProto, tensor, tensor_values

WHOLE = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}


@pytest.mark.parametrize(
    ("values", "dtype", "shape", "flat"),
    [
        (1.5, "DT_FLOAT", [], [1.5]),
        ([1, 2], "DT_DOUBLE", [2], [1.0, 2.0]),
        ([[1, 2, 3], [4, 5, 6]], "DT_INT64", [2, 3], [1, 2, 3, 4, 5, 6]),
        ([], "DT_FLOAT", [0], []),
        ([[], []], "DT_INT32", [2, 0], []),
        ([True, False], "DT_BOOL", [2], [True, False]),
        (["é", b"\xff"], "DT_STRING", [2], ["é".encode(), b"\xff"]),
        (2**64 - 1, "DT_UINT64", [], [2**64 - 1]),
    ],
)
def test_lists_become_tensors(values: Any, dtype: str, shape: list[int], flat: list[Any]) -> None:
    made = tensor(values, dtype)
    assert [dim.size for dim in made.tensor_shape.dim] == shape
    assert tensor_values(made) == flat


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[1], [2, 3]], "DT_FLOAT"),
        ([1, [2]], "DT_FLOAT"),
        ("text", "DT_FLOAT"),
        (None, "DT_STRING"),
        (5, "DT_STRING"),
        (1.5, "DT_INT32"),
        (128, "DT_INT8"),
        (-1, "DT_UINT8"),
        (2**31, "DT_INT32"),
        (2**64, "DT_UINT64"),
        (1.0, "DT_COMPLEX64"),
        (1.0, "float"),
    ],
)
def test_what_is_no_tensor_of_that_dtype_is_refused(values: Any, dtype: str) -> None:
    with pytest.raises(ValueError):
        tensor(values, dtype)


def test_lists_deeper_than_any_tensor_are_refused() -> None:
    deep: Any = 1.0
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested"):
        tensor(deep)


@given(st.data(), st.sampled_from(sorted(WHOLE)))
def test_every_whole_number_that_fits_comes_back(data: st.DataObject, name: str) -> None:
    limit = 2 ** (WHOLE[name] - 1)
    values = data.draw(st.lists(st.integers(-limit, limit - 1)))
    sent = TensorProto.FromString(tensor(values, f"DT_{name}").SerializeToString())
    assert tensor_values(sent) == values


ELEMENTS = {
    "DT_FLOAT": st.floats(width=32, allow_nan=False),
    "DT_DOUBLE": st.floats(allow_nan=False),
    "DT_BOOL": st.booleans(),
    "DT_STRING": st.binary(),
    "DT_UINT8": st.integers(0, 2**8 - 1),
    "DT_UINT64": st.integers(0, 2**64 - 1),
}


@given(st.data(), st.sampled_from(sorted(ELEMENTS)), st.lists(st.integers(0, 3), max_size=4))
def test_every_shape_of_every_kind_comes_back(data: st.DataObject, dtype: str, shape: list[int]) -> None:
    count = prod(shape)
    flat = data.draw(st.lists(ELEMENTS[dtype], min_size=count, max_size=count))
    # Lists cannot tell what is below an empty one.
    told = shape[: shape.index(0) + 1] if 0 in shape else shape
    sent = TensorProto.FromString(tensor(_nested(iter(flat), shape), dtype).SerializeToString())
    assert [dim.size for dim in sent.tensor_shape.dim] == told
    assert tensor_values(sent) == flat


def _nested(flat: Iterator[Any], shape: list[int]) -> Any:
    return [_nested(flat, shape[1:]) for _ in range(shape[0])] if shape else next(flat)


def test_one_value_stands_for_all() -> None:
    short = tensor([7.0], "DT_FLOAT")
    short.tensor_shape.dim[0].size = 3
    assert tensor_values(short) == [7.0, 7.0, 7.0]

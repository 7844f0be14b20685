"""What TensorFlow calls dtypes in its errors (framework/types.cc, DataTypeString)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

_OTHERWISE = {"float32": "float", "float64": "double", "float16": "half", "object": "string"}


@cache
def name_of(dtype: np.dtype[Any]) -> str:
    """TensorFlow's name of an array's dtype; strings are objects in numpy, and what it does not have is a structure."""
    return dtype.names[0] if dtype.names else _OTHERWISE.get(dtype.name, dtype.name)

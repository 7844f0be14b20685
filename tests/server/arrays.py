"""Models in numpy that behave towards the server's core as loaded SavedModels do, so that no TensorFlow is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfsdeploy.server.core import Array, Core
from tfsdeploy.server.manager import Manager

Compute = Callable[[dict[str, Array]], dict[str, Array]]

LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Input:
    """One input: alias, tensor and dtype, as of a SavedModel's call."""

    alias: str
    tensor: str
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A signature, ready to run."""

    inputs: tuple[Input, ...]
    compute: Compute
    defaults: Mapping[str, Array] = field(default_factory=dict)


class ArrayModel:
    """A model of one signature.

    Args:
        compute: inputs by alias to outputs by alias.
        dtypes: of the inputs.
        signature: its name.
    """

    def __init__(self, compute: Compute, signature: str = "serving_default", **dtypes: Any) -> None:
        inputs = tuple(Input(alias, f"{alias}:0", np.dtype(dtype)) for alias, dtype in sorted(dtypes.items()))
        self.signatures: Mapping[str, Call] = {signature: Call(inputs, compute)}

    def call(self, name: str, timeout_ms: int = 0) -> Call:
        """A signature's call."""
        return self.signatures[name]

    def run(self, call: Call, inputs: dict[str, Array], *, wait: bool = True) -> dict[str, Array]:
        """Compute it."""
        return call.compute(inputs)

    def close(self) -> None:
        """Nothing to give back."""


def half_plus_two() -> ArrayModel:
    """``x / 2 + 2``."""
    return ArrayModel(lambda given: {"y": np.asarray(given["x"] / np.float32(2) + np.float32(2))}, x=np.float32)


def identity(dtype: Any) -> ArrayModel:
    """``x``, of any dtype."""
    return ArrayModel(lambda given: {"y": given["x"]}, x=dtype)


def multi() -> ArrayModel:
    """Four inputs of different dtypes, five outputs."""

    def compute(given: dict[str, Array]) -> dict[str, Array]:
        return {
            "f_out": np.asarray(given["f"] * np.float32(2)),
            "i_out": np.asarray(given["i"] + np.int64(1)),
            "s_out": np.asarray(given["s"] + b"!", dtype=object),
            "b_out": np.asarray(~given["b"]),
            "s_bytes": given["s"],
        }

    return ArrayModel(compute, f=np.float32, i=np.int64, s=object, b=np.bool_)


def core_of(models: Mapping[str, Mapping[int, ArrayModel]]) -> Core:
    """A core in which these versions are AVAILABLE."""
    by_path = {f"/{name}/{version}": model for name, versions in models.items() for version, model in versions.items()}
    manager: Manager[Any] = Manager(by_path.__getitem__, threads=4)
    manager.aspire({name: {version: f"/{name}/{version}" for version in models[name]} for name in models})

    def loaded() -> bool:
        return all(row.state == "AVAILABLE" for name in models for row in manager.status(name))

    assert manager.wait(loaded, LIMIT_SECONDS)
    return Core(manager)

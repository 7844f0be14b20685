"""A model in memory, whatever it was saved as: a prepared call for each signature, and batches. Imports TensorFlow."""

from __future__ import annotations

import gc
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfsdeploy.protocol.status import Failed, code_of
from tfsdeploy.server.batch_threads import Line, Threads
from tfsdeploy.server.batching import Parameters
from tfsdeploy.server.beside import beside_requests
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.pace import Pace, WouldWait, size_of, thread_seconds

DEFAULT_SIGNATURE = "serving_default"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a signature: its alias, its tensor's name, and its numpy dtype (``object`` for strings)."""

    alias: str
    tensor: str
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One signature, ready to run.

    Attributes:
        signature: its name.
        timeout_ms: for one run; 0: no limit.
        inputs: in the order in which `run` takes them.
        outputs: aliases in the order in which `run` gives them.
        dtypes: of the outputs.
        run: arrays in; arrays out, but Python and numpy scalars for tensors without dimensions.
        pace: of its runs; None if they are no matter for the event loop.
        defaults: of inputs that gRPC requests may leave out, by alias.
        at_once: `run` for who must not wait for others' runs; raises WouldWait. None: `run` never waits for any.
    """

    signature: str
    timeout_ms: int
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    dtypes: tuple[np.dtype[Any], ...]
    run: Callable[..., Sequence[Any]]
    pace: Pace | None = None
    defaults: Mapping[str, Array] = field(default_factory=dict)
    at_once: Callable[..., Sequence[Any]] | None = None


# A graph's Python side is full of cycles, so `close` collects; what TensorFlow itself is made of (a million objects) is
# looked at no more: that would stop all requests for a tenth of a second.
gc.collect()
gc.freeze()


class Servable(ABC):
    """A loaded model.

    Args:
        signatures: SignatureDefs by name.
        metrics: told of its runs.
    """

    def __init__(self, signatures: Mapping[str, Any], metrics: Metrics) -> None:
        self.signatures = signatures
        self._metrics = metrics
        self._calls: dict[tuple[str, int], Call] = {}
        self._preparing = threading.Lock()
        self._line: Callable[[], Line] | None = None
        self._lines: dict[str, Line] = {}

    @abstractmethod
    def _prepared(self, name: str, timeout_ms: int) -> Call:
        """Prepare a signature's call."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of what holds the model's memory."""

    def prepare(self, timeout_ms: int) -> None:
        """Make the default signature ready for REST and gRPC, so that no request waits for its graph's optimizer."""
        for timeout in (0, timeout_ms) if DEFAULT_SIGNATURE in self.signatures else ():
            self.call(DEFAULT_SIGNATURE, timeout)

    def call(self, name: str, timeout_ms: int = 0) -> Call:
        """A signature's prepared call; if the graph does not have what it names, running it fails.

        Args:
            name: one of `signatures`.
            timeout_ms: for one run; 0 and below: no limit.
        """
        key = (name, max(0, timeout_ms))
        prepared = self._calls.get(key)
        if prepared is None:
            with self._preparing:
                prepared = self._calls.get(key) or self._prepared(*key)
                self._calls[key] = prepared
        return prepared

    def _as_untimed(self, name: str, timeout_ms: int) -> Call:
        """The call without a time limit, where one makes no difference; for `_prepared`."""
        untimed = self._calls.get((name, 0)) or self._prepared(name, 0)
        self._calls[name, 0] = untimed
        return replace(untimed, timeout_ms=timeout_ms)

    def quick(self, name: str, size: int = 0) -> bool:
        """Whether a signature is known to be quick enough for the event loop, with inputs of so many bytes."""
        prepared = self._calls.get((name, 0))
        return prepared is not None and prepared.pace is not None and prepared.pace.quick(size) and self._line is None

    def batch(self, threads: Threads, parameters: Parameters, *, alone: bool) -> None:
        """From now on run requests of the same signature together.

        Args:
            threads: run the batches.
            parameters: how to batch.
            alone: of a batch that fails, run each request by itself.
        """
        self._line = lambda: Line(threads, parameters, self._run, alone=alone)

    def run(self, call: Call, inputs: Mapping[str, Array], *, wait: bool = True) -> dict[str, Array]:
        """Run a signature.

        Args:
            call: of `call`.
            inputs: by alias.
            wait: also for the runs of others, where only so many can be at a time.

        Raises:
            Failed: what TensorFlow said.
            WouldWait: others run, and ``wait`` is not set.
        """
        arrays = [inputs[i.alias] for i in call.inputs]
        if self._line is None:
            return dict(zip(call.outputs, self._run(call, arrays, wait=wait), strict=True))
        line = self._lines.get(call.signature)
        if line is None:
            with self._preparing:
                line = self._lines.setdefault(call.signature, self._line())
        return dict(zip(call.outputs, line.ask(call, arrays), strict=True))

    def _run(self, call: Call, arrays: Sequence[Array], *, wait: bool = True) -> list[Array]:
        size = size_of(arrays)
        begun, began = thread_seconds(), time.perf_counter()
        run = call.run if wait or call.at_once is None else call.at_once
        try:
            found = run(*arrays)
            took = time.perf_counter() - began
        except WouldWait:
            raise
        except tf.errors.OpError as error:
            self._metrics.ran(None, size)
            raise Failed(code_of(error.error_code), error.message) from error
        except (TypeError, ValueError) as error:
            self._metrics.ran(None, size)
            raise Failed("INVALID_ARGUMENT", str(error)) from error
        except Failed:
            self._metrics.ran(None, size)
            raise
        if call.pace is not None:
            call.pace.took(thread_seconds() - begun, size)
        answer = [
            value if isinstance(value, np.ndarray) else np.array(value, dtype)
            for value, dtype in zip(found, call.dtypes, strict=True)
        ]
        self._metrics.ran(took, size, size_of(answer))
        return answer

    def close(self) -> None:
        """Give the model's memory back."""
        self._calls.clear()
        beside_requests(self._let_go)

    def _let_go(self) -> None:
        self._release()
        gc.collect()


def numpy_dtype(dtype: int) -> np.dtype[Any]:
    """The dtype of a DataType's arrays; ``object`` for strings, and for what nobody can send."""
    try:
        found: np.dtype[Any] = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
        return found
    except TypeError:  # resources and variants
        return np.dtype(object)

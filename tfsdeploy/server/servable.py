"""A SavedModel in memory: its session, and a prepared call for each signature. Imports TensorFlow."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from tfsdeploy.protocol.status import Failed, code_of
from tfsdeploy.server import saved_model_loader
from tfsdeploy.server.batch_threads import Line, Threads
from tfsdeploy.server.batching import Parameters
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.pace import Pace, bounded, size_of, thread_seconds

TAGS = ("serve",)
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
    """

    signature: str
    timeout_ms: int
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    dtypes: tuple[np.dtype[Any], ...]
    run: Callable[..., list[Any]]
    pace: Pace | None = None
    defaults: Mapping[str, Array] = field(default_factory=dict)


# A graph's Python side is full of cycles, so `close` collects; what TensorFlow itself is made of (a million objects) is
# looked at no more: that would stop all requests for a tenth of a second.
gc.collect()
gc.freeze()


class SavedModel:
    """A loaded SavedModel, TensorFlow 1 or 2.

    Args:
        path: the version's folder.
        tags: those of the graph to load, all of them.
        config: a ConfigProto for its session; None: TensorFlow's own choices.
        metrics: told of its load and its runs.

    Raises:
        Failed: it cannot be loaded, in TensorFlow's words.
    """

    def __init__(
        self, path: str, *, tags: Sequence[str] = TAGS, config: Any = None, metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics or Metrics()
        self._session, meta = saved_model_loader.load(path, tags, config, self._metrics)
        self.signatures: Mapping[str, Any] = dict(meta.signature_def)
        self._bounded = bounded(meta.graph_def)
        self._calls: dict[tuple[str, int], Call] = {}
        self._preparing = threading.Lock()
        self._line: Callable[[], Line] | None = None
        self._lines: dict[str, Line] = {}

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

    def run(self, call: Call, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run a signature.

        Raises:
            Failed: what TensorFlow said.
        """
        arrays = [inputs[i.alias] for i in call.inputs]
        if self._line is None:
            return dict(zip(call.outputs, self._run(call, arrays), strict=True))
        line = self._lines.get(call.signature)
        if line is None:
            with self._preparing:
                line = self._lines.setdefault(call.signature, self._line())
        return dict(zip(call.outputs, line.ask(call, arrays), strict=True))

    def _run(self, call: Call, arrays: Sequence[Array]) -> list[Array]:
        begun, began = thread_seconds(), time.perf_counter()
        took: float | None = None
        try:
            found = call.run(*arrays)
            took = time.perf_counter() - began
        except tf.errors.OpError as error:
            raise Failed(code_of(error.error_code), error.message) from error
        except (TypeError, ValueError) as error:
            raise Failed("INVALID_ARGUMENT", str(error)) from error
        finally:
            self._metrics.ran(took)
        if call.pace is not None:
            call.pace.took(thread_seconds() - begun, size_of(arrays))
        return [
            value if isinstance(value, np.ndarray) else np.array(value, dtype)
            for value, dtype in zip(found, call.dtypes, strict=True)
        ]

    def close(self) -> None:
        """Give the session's memory back."""
        self._calls.clear()
        self._session.close()
        self._session = None
        gc.collect()

    def _prepared(self, name: str, timeout_ms: int) -> Call:
        if self._bounded and timeout_ms:
            # TensorFlow looks at the time while it waits for its threads; here there are none, and little to wait for.
            untimed = self._calls.get((name, 0)) or self._prepared(name, 0)
            self._calls[name, 0] = untimed
            return replace(untimed, timeout_ms=timeout_ms)
        signature = self.signatures[name]
        inputs = tuple(Input(alias, info.name, _numpy(info.dtype)) for alias, info in sorted(signature.inputs.items()))
        outputs = sorted(signature.outputs)
        options = config_pb2.CallableOptions(
            feed=[given.tensor for given in inputs], fetch=[signature.outputs[alias].name for alias in outputs]
        )
        options.run_options.timeout_in_ms = timeout_ms
        if self._bounded:
            # All of it in the thread that asks: two changes of threads take longer than many a model.
            options.run_options.inter_op_thread_pool = -1
        try:
            # Not `make_callable`: that one checks shapes in Python, in other words than the runtime's and more strictly
            # than the original, knows no timeout, and takes six times as long (75 against 12 µs for half_plus_two).
            run = self._session._make_callable_from_options(options)
        except tf.errors.OpError as error:
            # Told to who asks, after what else is wrong with the request.
            run = _failing(Failed(code_of(error.error_code), error.message))
        dtypes = tuple(_numpy(signature.outputs[alias].dtype) for alias in outputs)
        defaults = {alias: np.asarray(tf.make_ndarray(value)) for alias, value in signature.defaults.items()}
        return Call(name, timeout_ms, inputs, tuple(outputs), dtypes, run, Pace() if self._bounded else None, defaults)


def _failing(failed: Failed) -> Callable[..., list[Any]]:
    def run(*_: Array) -> list[Any]:
        raise failed

    return run


def _numpy(dtype: int) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
        return found
    except TypeError:  # resources and variants, which nobody can send
        return np.dtype(object)

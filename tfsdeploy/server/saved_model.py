"""A SavedModel in memory: its session, and a prepared call for each signature. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from tfsdeploy.protocol.status import Failed, code_of
from tfsdeploy.server import saved_model_loader
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.pace import Pace, bounded
from tfsdeploy.server.servable import Array, Call, Input, Servable, numpy_dtype

TAGS = ("serve",)


class SavedModel(Servable):
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
        metrics = metrics or Metrics()
        self._session, meta = saved_model_loader.load(path, tags, config, metrics)
        super().__init__(dict(meta.signature_def), metrics)
        self._bounded = bounded(meta.graph_def)

    def _release(self) -> None:
        self._session.close()
        self._session = None

    def _prepared(self, name: str, timeout_ms: int) -> Call:
        if self._bounded and timeout_ms:
            # TensorFlow looks at the time while it waits for its threads; here there are none, and little to wait for.
            return self._as_untimed(name, timeout_ms)
        signature = self.signatures[name]
        inputs = tuple(
            Input(alias, info.name, numpy_dtype(info.dtype)) for alias, info in sorted(signature.inputs.items())
        )
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
            with self._metrics.build():
                run = self._session._make_callable_from_options(options)
        except tf.errors.OpError as error:
            # Told to who asks, after what else is wrong with the request.
            run = _failing(Failed(code_of(error.error_code), error.message))
        dtypes = tuple(numpy_dtype(signature.outputs[alias].dtype) for alias in outputs)
        defaults = {alias: np.asarray(tf.make_ndarray(value)) for alias, value in signature.defaults.items()}
        return Call(name, timeout_ms, inputs, tuple(outputs), dtypes, run, Pace() if self._bounded else None, defaults)


def _failing(failed: Failed) -> Callable[..., list[Any]]:
    def run(*_: Array) -> list[Any]:
        raise failed

    return run

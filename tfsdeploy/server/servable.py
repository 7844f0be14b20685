"""A SavedModel in memory: its session, and a prepared call for each signature. Imports TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfsdeploy.protocol.status import Failed, code_of

TAGS = ["serve"]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a signature: its alias and numpy dtype (``object`` for strings)."""

    alias: str
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One signature, ready to run.

    Attributes:
        inputs: in the order in which `run` takes them.
        outputs: aliases in the order in which `run` gives them.
        run: arrays in, arrays out.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    run: Callable[..., list[np.ndarray[Any, Any]]]


class SavedModel:
    """A loaded SavedModel, TensorFlow 1 or 2.

    Args:
        path: the version's folder.
        intra: threads inside an operation; 0: as many as cores.
        inter: threads between operations; 0: as many as cores.

    Raises:
        Failed: it cannot be loaded, in TensorFlow's words.
    """

    def __init__(self, path: str, *, intra: int = 0, inter: int = 0) -> None:
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=intra,
            inter_op_parallelism_threads=inter,
            # Threads of its own: while one version loads, the others' requests must not wait for it.
            use_per_session_threads=True,
        )
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.loader.load(self._session, TAGS, path)
        except tf.errors.OpError as error:
            self._session.close()
            raise Failed(code_of(error.error_code), error.message) from error
        except (OSError, RuntimeError, ValueError) as error:
            self._session.close()
            raise Failed("NOT_FOUND" if isinstance(error, OSError) else "INTERNAL", str(error)) from error
        self.signatures: Mapping[str, Any] = dict(meta.signature_def)
        self._calls: dict[str, Call] = {}
        self._preparing = threading.Lock()

    def call(self, name: str) -> Call:
        """A signature's prepared call; ``name`` must be one of `signatures`."""
        prepared = self._calls.get(name)
        if prepared is None:
            with self._preparing:
                prepared = self._calls.setdefault(name, self._prepare(name))
        return prepared

    def run(self, call: Call, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run a signature.

        Raises:
            Failed: what TensorFlow said.
        """
        try:
            return dict(zip(call.outputs, call.run(*[inputs[i.alias] for i in call.inputs]), strict=True))
        except tf.errors.OpError as error:
            raise Failed(code_of(error.error_code), error.message) from error
        except (TypeError, ValueError) as error:
            raise Failed("INVALID_ARGUMENT", str(error)) from error

    def close(self) -> None:
        """Give the session's memory back."""
        self._calls.clear()
        self._session.close()

    def _prepare(self, name: str) -> Call:
        signature = self.signatures[name]
        inputs = sorted(signature.inputs.items())
        outputs = sorted(signature.outputs)
        run = self._session.make_callable(
            [signature.outputs[alias].name for alias in outputs], [info.name for _, info in inputs]
        )
        dtypes = tuple(Input(alias, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype)) for alias, info in inputs)
        return Call(dtypes, tuple(outputs), run)

"""A ``model.tflite`` in memory: interpreters of it, each of which runs one request at a time (tflite_session.cc).

Imports TensorFlow.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from tfsdeploy.protocol import tflite
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import text_file
from tfsdeploy.server.flags import say
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.pace import MOST_NODES, Pace
from tfsdeploy.server.pool import Pool
from tfsdeploy.server.servable import Array, Call, Input, Servable, numpy_dtype

FILE = "model.tflite"

_Shape = tuple[int, ...] | None

# It says so for every interpreter, and TensorFlow has them still.
warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")


def is_there(path: str) -> bool:
    """Whether a version's folder has a TFLite model."""
    return Path(path, FILE).exists()


class LiteModel(Servable):
    """A loaded TFLite model.

    Args:
        path: the version's folder.
        interpreters: how many requests run at once; each that does has an interpreter, and its working memory.
        threads: of one run.
        like_tfs: pass over the signatures that the converter wrote, and run whatever shapes are given.
        metrics: told of its runs.

    Raises:
        Failed: it cannot be loaded.
    """

    def __init__(
        self,
        path: str,
        *,
        interpreters: int = 1,
        threads: int = 1,
        like_tfs: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        file = Path(path, FILE)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise text_file.failed(str(file), error) from error
        self._pool = Pool(partial(_Interpreter, content, threads), interpreters)
        try:
            model = tflite.read(content, converters=not like_tfs)
        except tflite.NoTFLite as error:
            raise Failed("INVALID_ARGUMENT", f"Invalid SignatureDefs found in TfLite model: {error}") from error
        self._lite = model.signatures
        self._takes = {} if like_tfs else {name: _takes(signature) for name, signature in model.signatures.items()}
        self._short = model.straight and model.operators <= MOST_NODES
        definitions = {
            name: meta_graph_pb2.SignatureDef.FromString(signature.definition.SerializeToString())
            for name, signature in model.signatures.items()
        }
        super().__init__(definitions, metrics or Metrics())
        say(f"{file}: served by TFLite, {interpreters} requests at once")

    def _prepared(self, name: str, timeout_ms: int) -> Call:
        if timeout_ms:  # a run cannot be ended
            return self._as_untimed(name, timeout_ms)
        definition = self.signatures[name]
        inputs = tuple(
            Input(alias, info.name, numpy_dtype(info.dtype)) for alias, info in sorted(definition.inputs.items())
        )
        outputs = tuple(sorted(definition.outputs))
        dtypes = tuple(numpy_dtype(definition.outputs[alias].dtype) for alias in outputs)
        aliases = tuple(given.alias for given in inputs)
        run = partial(self._answer, name, aliases, outputs)
        return Call(
            name,
            timeout_ms,
            inputs,
            outputs,
            dtypes,
            partial(run, True),
            Pace() if self._short else None,
            at_once=partial(run, False),
        )

    def _answer(
        self, name: str, aliases: Sequence[str], outputs: Sequence[str], wait: bool, *arrays: Array
    ) -> Sequence[Any]:
        inputs = dict(zip(aliases, arrays, strict=True))
        for alias, shape in self._takes.get(name, {}).items():
            _check(alias, inputs[alias].shape, shape)
        interpreter = self._pool.take(wait=wait)
        sound = False
        try:
            found = interpreter.run(name, self._lite[name], inputs, outputs)
            sound = True
        finally:
            # One that failed may have sizes that do not fit each other.
            self._pool.give_back(interpreter if sound else None)
        return found

    def _release(self) -> None:
        del self._pool


class _Interpreter:
    """One interpreter; never used by two at the same time.

    Args:
        content: the model; not copied.
        threads: of a run.

    Raises:
        Failed: it is no model, or has operators that are not known here.
    """

    def __init__(self, content: bytes, threads: int) -> None:
        try:
            self._lite = tf.lite.Interpreter(model_content=content, num_threads=threads)
        except ValueError as error:
            raise Failed("INVALID_ARGUMENT", f"Cannot build FlatBufferModel from buffer: {error}") from error
        try:
            self._lite.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise _failed("Failed to allocate tensors", error) from error
        self._shapes = {given["index"]: tuple(given["shape"]) for given in self._lite.get_input_details()}

    def run(
        self, name: str, signature: tflite.Signature, inputs: Mapping[str, Array], outputs: Sequence[str]
    ) -> Sequence[Any]:
        """Run a signature; afterwards it is good for nothing if that raised.

        Args:
            name: of the signature.
            signature: it.
            inputs: by alias.
            outputs: aliases of what is wanted.

        Raises:
            Failed: the inputs do not fit, or what TFLite said.
        """
        lite = self._lite
        if signature.subgraph:
            return self._run_other(name, inputs, outputs)
        given = {signature.inputs[alias]: array for alias, array in inputs.items()}
        try:
            resized = False
            for index, array in given.items():
                if self._shapes[index] != array.shape:
                    lite.resize_tensor_input(index, array.shape)
                    self._shapes[index] = array.shape
                    resized = True
            if resized:
                lite.allocate_tensors()
            for index, array in given.items():
                lite.set_tensor(index, array)
        except (RuntimeError, ValueError) as error:
            raise _failed("Failed to allocate tensors", error) from error
        try:
            lite.invoke()
        except (RuntimeError, ValueError) as error:
            raise _failed("Failed to invoke TfLite interpreter", error) from error
        return [lite.get_tensor(signature.outputs[alias]) for alias in outputs]

    def _run_other(self, name: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Any]:
        """Run a signature of another subgraph than the primary one."""
        try:
            # Made anew: while there is one, `resize_tensor_input` refuses.
            found = self._lite.get_signature_runner(name)(**inputs)
        except (RuntimeError, ValueError) as error:
            raise _failed("Failed to invoke TfLite interpreter", error) from error
        return [found[alias] for alias in outputs]


def _takes(signature: tflite.Signature) -> Mapping[str, _Shape]:
    """The shapes that inputs may have: where the model leaves nothing open, requests may still have many rows."""
    told = any(-1 in (shape or ()) for shape in signature.shapes.values())
    return {alias: shape if told or not shape else (-1, *shape[1:]) for alias, shape in signature.shapes.items()}


def _check(alias: str, shape: _Shape, takes: _Shape) -> None:
    """Refuse what TFLite's operators do not look at: some divide by a size of 0, or read what is not there."""
    assert shape is not None
    fits = takes is None or (
        len(shape) == len(takes) and all(size in (-1, given) for given, size in zip(shape, takes, strict=True))
    )
    if not fits or 0 in shape:
        raise Failed(
            "INVALID_ARGUMENT",
            f"Input {alias} has shape {_words(shape)}, but the TFLite model takes {_words(takes)} and no empty tensors",
        )


def _words(shape: _Shape) -> str:
    return "any shape" if shape is None else "[" + ",".join("?" if size < 0 else str(size) for size in shape) + "]"


def _failed(what: str, error: Exception) -> Failed:
    return Failed("INTERNAL", f"{what}: {error}")

"""Tiny SavedModels for tests: what they answer is known, and how they fail."""

from __future__ import annotations

import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def write_constant(path: Path, value: float) -> None:
    """A TensorFlow 2 model with a variable: every row of ``x`` (float, [None]) gives ``value``."""
    import tensorflow as tf

    class Constant(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.value = tf.Variable(float(value))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.zeros_like(x) + self.value}

    model = Constant()
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.__call__})


def write_half_plus_two(path: Path, offset: float = 2.0) -> None:
    """A TensorFlow 1 model without variables: ``y = x / 2 + offset``."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        y = tf.identity(x * 0.5 + offset, name="y")
        _save(path, session, {"x": x}, {"y": y})


def write_slow(path: Path, load_seconds: float) -> None:
    """A model that computes for about ``load_seconds`` on one idle core while it is loaded; answers 0."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        rounds = tf.compat.v1.placeholder_with_default(10, [], name="rounds")
        busy = _busy(tf, rounds)
        session.run(busy)
        begun = time.perf_counter()
        session.run(busy)
        needed = max(10, round(10 * load_seconds / (time.perf_counter() - begun)))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        y = tf.zeros_like(x, name="y")
        work = tf.group(_busy(tf, tf.constant(needed)), name="slow_start")
        _save(path, session, {"x": x}, {"y": y}, main_op=work)


def write_needing(path: Path, file: str) -> None:
    """A model that loads only where a file exists; answers 0."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        y = tf.zeros_like(x, name="y")
        # Reading alone would be optimised away: nobody uses what was read.
        found = tf.debugging.Assert(tf.strings.length(tf.io.read_file(file)) >= 0, [file], name="needed")
        _save(path, session, {"x": x}, {"y": y}, main_op=found)


def write_broken(path: Path) -> None:
    """A SavedModel that can be read and looked at, but not loaded: its graph uses an operation that does not exist."""
    from tensorflow.core.protobuf import saved_model_pb2

    write_half_plus_two(path)
    file = path / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for node in message.meta_graphs[0].graph_def.node:
        if node.name == "y":
            node.op = "NoSuchOperation"
    file.write_bytes(message.SerializeToString())


def _busy(tf: object, rounds: object) -> object:
    matrix = tf.eye(300) * 1.0001  # type: ignore[attr-defined]
    return tf.compat.v1.while_loop(  # type: ignore[attr-defined]
        lambda turn, _: turn < rounds,
        lambda turn, product: (turn + 1, tf.linalg.matmul(product, matrix) * 0.5),  # type: ignore[attr-defined]
        [tf.constant(0), matrix],  # type: ignore[attr-defined]
        parallel_iterations=1,
    )[1]


def _save(path: Path, session: object, inputs: dict, outputs: dict, main_op: object = None) -> None:  # type: ignore[type-arg]
    import tensorflow as tf

    v1 = tf.compat.v1.saved_model
    builder = v1.Builder(str(path))
    signature = v1.build_signature_def(
        {name: v1.build_tensor_info(tensor) for name, tensor in inputs.items()},
        {name: v1.build_tensor_info(tensor) for name, tensor in outputs.items()},
        "tensorflow/serving/predict",
    )
    builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=main_op)
    builder.save()

"""Tiny SavedModels for tests: what they answer is known, and how they fail."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def write_heavy(path: Path, offset: float, mebibytes: int = 8) -> None:
    """A TensorFlow 1 model with so much of variables: ``y = x / 2 + offset``."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        weights = v1.get_variable("weights", initializer=lambda: tf.fill([mebibytes << 18], float(offset)))
        y = tf.identity(x * 0.5 + weights[-1], name="y")
        session.run(v1.global_variables_initializer())
        _save(path, session, {"x": x}, {"y": y})


def write_slow(path: Path, load_seconds: float) -> None:
    """A model that computes for about ``load_seconds`` on one idle core while it is loaded; answers 0."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        rounds = tf.compat.v1.placeholder_with_default(10, [], name="rounds")
        busy = _busy(tf, rounds)
        took = []
        for _ in range(10):
            begun = time.perf_counter()
            session.run(busy)
            took.append(time.perf_counter() - begun)
        # The quickest: the others may have had to share their core, and then the load would take less than is asked.
        needed = max(10, round(10 * load_seconds / min(took)))
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


def write_vocabulary(path: Path) -> None:
    """A TensorFlow 1 model with a variable and an asset, a file of words: ``y``, the line of each word, plus 10."""
    import tensorflow as tf

    v1 = tf.compat.v1
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default(), v1.Session() as session:
        words = Path(folder, "words.txt")
        words.write_text("zero\none\ntwo\n")
        x = v1.placeholder(tf.string, [None], name="x")
        offset = v1.get_variable("offset", initializer=tf.constant(10, tf.int64), use_resource=False)
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            -1,
        )
        y = table.lookup(x) + offset
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        _save(path, session, {"x": x}, {"y": y}, main_op=v1.tables_initializer(), assets=True)


def write_words(path: Path) -> None:
    """A TensorFlow 2 model with an asset: ``y``, the line of each word in a file of words."""
    import tensorflow as tf

    class Words(tf.Module):  # type: ignore[misc]
        def __init__(self, file: str) -> None:
            super().__init__()
            self.file = tf.saved_model.Asset(file)
            self.table = tf.lookup.StaticVocabularyTable(
                tf.lookup.TextFileInitializer(
                    self.file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                1,
            )  # fmt: skip

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": self.table.lookup(x)}

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "words.txt")
        file.write_text("zero\none\ntwo\n")
        model = Words(str(file))
        tf.saved_model.save(model, str(path), signatures={"serving_default": model.__call__})


def write_ragged(path: Path) -> None:
    """A TensorFlow 2 model whose outputs are a ragged tensor's parts: of ``x`` words, their letters and where they end;
    and a TensorFlow 1 signature, ``whole``, whose output is the ragged tensor itself."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, [None], name="x")
        letters = tf.strings.unicode_split(x, "UTF-8")
        outputs = {"letters": letters.flat_values, "row_splits": letters.row_splits}
        _save(path, session, {"x": x}, outputs, more={"whole": ({"x": x}, {"y": letters})})


def write_with_default(path: Path) -> None:
    """A TensorFlow 1 model with an input that has a default: ``y = x * factor``, ``factor`` 3 if it is left out."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        factor = v1.placeholder(tf.float32, [], name="factor")
        y = x * factor
        default = {"factor": tf.make_tensor_proto(3.0, tf.float32)}
        _save(path, session, {"x": x, "factor": factor}, {"y": y}, defaults=default)


def write_for_parameter_servers(path: Path) -> None:
    """A TensorFlow 1 model with variables whose graph names the devices of a training cluster: ``y = x * 2 + 1``."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        weight = v1.get_variable("weight", initializer=2.0, use_resource=False)
        bias = v1.get_variable("bias", initializer=1.0, use_resource=True)
        y = tf.identity(x * weight + bias, name="y")
        session.run(v1.global_variables_initializer())
        _save(path, session, {"x": x}, {"y": y})
    file = path / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for at, node in enumerate(message.meta_graphs[0].graph_def.node):
        variable = node.op in ("VarHandleOp", "VariableV2")
        node.device = f"/job:ps/task:{at % 2}" if variable else "/job:worker/replica:0/task:3/device:CPU:0"
    file.write_bytes(message.SerializeToString())


def write_keras(path: Path) -> None:
    """What ``keras.Model.export`` writes: ``x`` of two floats, weights 1 and 2, no bias."""
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1, use_bias=False)])
    model.layers[-1].set_weights([np.array([[1.0], [2.0]], np.float32)])
    model.export(str(path), verbose=False)


def write_mirrored(path: Path) -> None:
    """A TensorFlow 2 model saved under MirroredStrategy on two devices: ``y = x * 4``; needs a process of its own."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = tf.Module()
        model.weight = tf.Variable(4.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": x * model.weight}

        model.call = call
        tf.saved_model.save(model, str(path), signatures={"serving_default": model.call})


def _busy(tf: object, rounds: object) -> object:
    matrix = tf.eye(300) * 1.0001  # type: ignore[attr-defined]
    return tf.compat.v1.while_loop(  # type: ignore[attr-defined]
        lambda turn, _: turn < rounds,
        lambda turn, product: (turn + 1, tf.linalg.matmul(product, matrix) * 0.5),  # type: ignore[attr-defined]
        [tf.constant(0), matrix],  # type: ignore[attr-defined]
        parallel_iterations=1,
    )[1]


def _save(
    path: Path,
    session: Any,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    main_op: object = None,
    *,
    assets: bool = False,
    defaults: Mapping[str, Any] | None = None,
    more: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] | None = None,
) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1.saved_model
    builder = v1.Builder(str(path))
    signatures = {
        name: v1.build_signature_def(
            {alias: v1.build_tensor_info(tensor) for alias, tensor in given.items()},
            {alias: v1.build_tensor_info(tensor) for alias, tensor in taken.items()},
            "tensorflow/serving/predict",
        )
        for name, (given, taken) in {"serving_default": (inputs, outputs), **(more or {})}.items()
    }
    for alias, value in (defaults or {}).items():
        signatures["serving_default"].defaults[alias].CopyFrom(value)
    kept = session.graph.get_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS) if assets else None
    builder.add_meta_graph_and_variables(session, ["serve"], signatures, assets_collection=kept, main_op=main_op)
    builder.save()

"""Models whose answers the recorded cases know."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.models import write_half_plus_two

DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool", "string", "complex64",
)  # fmt: skip

FLEET: Mapping[str, tuple[int, ...]] = {
    "half_plus_two": (123,), "half_plus_two_tf2": (123,), "half_plus_three": (123,), "halves": (123,), "multi": (1,),
    "clf": (1,), "counter": (123,), "nodefault": (1,), "versions": (1, 2, 3),
}  # fmt: skip
"""The models and their versions."""

ODD_NAMES = ("we ird.näme", "sl/ash")
"""Other names of ``half_plus_three``."""


def write_fleet(folder: Path) -> Path:
    """The models of `FLEET`, of which ``versions`` (y = x + version, all of them) has labels, and `ODD_NAMES`.

    Returns:
        The configuration file.
    """
    write_half_plus_two(folder / "half_plus_two" / "00000123")
    write_multi(folder / "multi" / "1")
    write_halves(folder / "halves" / "123")
    write_half_plus_two_tf2(folder / "half_plus_two_tf2" / "00000123")
    write_half_plus_three(folder / "half_plus_three" / "00000123")
    write_classifier(folder / "clf" / "1")
    write_counter(folder / "counter" / "123")
    write_without_default(folder / "nodefault" / "1")
    for version in (1, 2, 3):
        write_adder(folder / "versions" / str(version), version)
    file = folder / "models.config"
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 3 }'
    policies = {"versions": f"model_version_policy {{ all {{}} }} {labels}"}
    bases = {name: folder / name for name in FLEET} | dict.fromkeys(ODD_NAMES, folder / "half_plus_three")
    configs = "".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {policies.get(name, "")} }}\n'
        for name, base in bases.items()
    )
    file.write_text(f"model_config_list {{\n{configs}}}\n")
    return file


def write_adder(path: Path, amount: float) -> None:
    """A TensorFlow 2 model: ``y = x + amount``."""
    import tensorflow as tf

    class Adder(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.amount = tf.Variable(float(amount))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": x + self.amount}

    model = Adder()
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.__call__})


def write_tagged(path: Path) -> None:
    """A TensorFlow 1 model of two graphs: with the tag ``serve`` ``y = x + 1``, with ``serve`` and ``other``
    ``y = x + 2``; the signature ``slow`` is ``x`` rounds of work."""
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(path))
    for tags, amount in ((["serve"], 1.0), (["serve", "other"], 2.0)):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], name="x")
            slow = x + 0 * _rounds(tf.reduce_max(x))
            told = v1.saved_model.build_tensor_info
            signatures = {
                name: v1.saved_model.build_signature_def({"x": told(x)}, {"y": told(y)}, "tensorflow/serving/predict")
                for name, y in {"serving_default": x + amount, "slow": slow}.items()
            }
            if amount == 1.0:
                builder.add_meta_graph_and_variables(session, tags, signatures)
            else:
                builder.add_meta_graph(tags, signatures)
    builder.save()


def write_without_default(path: Path) -> None:
    """A TensorFlow 2 model whose one signature, ``only``, is not the default: ``y = x * 3``."""
    import tensorflow as tf

    model = tf.Module()
    model.f = tf.function(lambda x: {"y": x * 3}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(model, str(path), signatures={"only": model.f})


def write_counter(path: Path) -> None:
    """A TensorFlow 1 model with a state: a counter, at 1 when it is loaded, and signatures that read and change it."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=1.0, use_resource=False)
        delta = v1.placeholder(tf.float32, name="delta")
        with tf.name_scope("incr_counter_op"):
            one_more = v1.assign_add(counter, 1.0, name="AssignAdd")
        with tf.name_scope("incr_counter_by_op"):
            more = v1.assign_add(counter, delta, name="AssignAdd")
        with tf.name_scope("reset_counter_op"):
            none = v1.assign(counter, 0.0, name="Assign")
        session.run(v1.global_variables_initializer())
        signatures = {
            "get_counter": ({}, {"output": counter}, "predict"),
            "incr_counter": ({}, {"output": one_more}, "predict"),
            "incr_counter_by": ({"delta": delta}, {"output": more}, "predict"),
            "reset_counter": ({}, {"output": none}, "predict"),
        }
        _save_signatures(path, session, signatures)


def write_halves(path: Path) -> None:
    """A TensorFlow 1 model that reads tf.Examples: ``y = x / 2 + 2``, ``y2 = x / 2 + 3``."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, name="tf_example")
        x = v1.parse_example(examples, {"x": v1.FixedLenFeature([1], tf.float32)})["x"]
        other = v1.placeholder(tf.float32, [None, 1], name="x2")
        y, y2, y3 = tf.identity(x * 0.5 + 2, "y"), tf.identity(x * 0.5 + 3, "y2"), tf.identity(other * 0.5 + 3, "y3")
        signatures = {
            "classify_x_to_y": ({"inputs": examples}, {"scores": y}, "classify"),
            "regress_x_to_y": ({"inputs": examples}, {"outputs": y}, "regress"),
            "regress_x_to_y2": ({"inputs": examples}, {"outputs": y2}, "regress"),
            "regress_x2_to_y3": ({"inputs": other}, {"outputs": y3}, "regress"),
        }
        _save_signatures(path, session, signatures)


def write_half_plus_two_tf2(path: Path) -> None:
    """``halves`` as a TensorFlow 2 model: of tf.Examples, or of one value, with a default in ``serving_default``."""
    import tensorflow as tf

    model = tf.Module()
    model.slope = tf.Variable(0.5)
    one, zero = tf.TensorSpec([1], tf.float32, "inputs"), tf.zeros([1])

    def of_value(output: str, offset: float) -> Any:
        return tf.function(lambda inputs: {output: inputs * model.slope + offset}, input_signature=[one])

    def of_examples(output: str, offset: float) -> Any:
        def answer(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
            return {output: x * model.slope + offset}

        return tf.function(answer, input_signature=[tf.TensorSpec([None], tf.string, "inputs")])

    def predict(x: tf.Tensor = zero) -> dict[str, tf.Tensor]:
        return {"y": x * model.slope + 2.0}

    model.functions = {
        "serving_default": tf.function(predict, input_signature=[tf.TensorSpec([1], tf.float32, "x")]),
        "classify_x_to_y": of_examples("scores", 2.0),
        "classify_x2_to_y3": of_value("scores", 3.0),
        "regress_x_to_y": of_examples("outputs", 2.0),
        "regress_x_to_y2": of_examples("outputs", 3.0),
        "regress_x2_to_y3": of_value("outputs", 3.0),
    }
    tf.saved_model.save(model, str(path), signatures=dict(model.functions))


def write_half_plus_three(path: Path) -> None:
    """A TensorFlow 1 model whose signatures say no shapes, as old exports do not: ``y = x / 2 + 3``."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, name="x")
        y = tf.identity(x * 0.5 + 3, "y")
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict")
        for one in (signature.inputs["x"], signature.outputs["y"]):
            one.ClearField("tensor_shape")
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


def write_classifier(path: Path) -> None:
    """A TensorFlow 1 model with signatures that classify and regress well, and some that cannot."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="ser")
        features = {
            "x": v1.FixedLenFeature([2], tf.float32),
            "name": v1.FixedLenFeature([], tf.string, default_value="?"),
            "n": v1.FixedLenFeature([], tf.int64, default_value=0),
        }
        x = v1.parse_example(examples, features)["x"]
        total = tf.reduce_sum(x, 1)
        scores = tf.identity(tf.concat([x, total[:, None]], 1), name="scores")
        classes = tf.tile(tf.constant([["a", "b", "c"]]), [tf.shape(x)[0], 1])
        asked = {"inputs": examples}
        signatures = {
            "serving_default": (asked, {"classes": classes, "scores": scores}, "classify"),
            "classes_only": (asked, {"classes": classes}, "classify"),
            "scores_only": (asked, {"scores": scores}, "classify"),
            "scores_1d": (asked, {"scores": total}, "classify"),
            "classes_bad_type": (asked, {"classes": scores, "scores": scores}, "classify"),
            "no_outputs": (asked, {"zzz": scores}, "classify"),
            "wrong_input_key": ({"foo": examples}, {"scores": scores}, "classify"),
            "regress": (asked, {"outputs": total}, "regress"),
            "regress_2d": (asked, {"outputs": total[:, None]}, "regress"),
            "regress_wide": (asked, {"outputs": scores}, "regress"),
            "regress_bad_type": (asked, {"outputs": classes}, "regress"),
            "predict": ({"examples": examples}, {"classes": classes, "scores": scores}, "predict"),
            "odd_method": ({"x": x}, {"y": total}, "odd"),
            "empty_method": ({"x": x}, {"y": total}, ""),
        }
        _save_signatures(path, session, signatures)


def _rounds(count: Any) -> Any:
    """A number that takes so many rounds of work, each of about a millisecond."""
    import tensorflow as tf

    _, square = tf.while_loop(
        lambda turn, _: turn < count,
        lambda turn, m: (turn + 1, tf.linalg.matmul(m, m) * 0.5 + 0.001),
        [tf.zeros([], count.dtype), tf.fill([256, 256], 0.001)],
        parallel_iterations=1,
    )
    return tf.reduce_sum(square)


def _save_signatures(path: Path, session: Any, signatures: Mapping[str, tuple[Any, Any, str]]) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    told = v1.saved_model.utils.build_tensor_info
    definitions = {
        name: v1.saved_model.signature_def_utils.build_signature_def(
            {alias: told(tensor) for alias, tensor in inputs.items()},
            {alias: told(tensor) for alias, tensor in outputs.items()},
            f"tensorflow/serving/{method}" if method else "",
        )
        for name, (inputs, outputs, method) in signatures.items()
    }
    builder = v1.saved_model.builder.SavedModelBuilder(str(path))
    builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=definitions)
    builder.save()


def write_multi(path: Path) -> None:
    """One model with a signature for every kind of input and output."""
    import tensorflow as tf

    def spec(shape: list[int | None] | None, dtype: object, name: str) -> tf.TensorSpec:
        return tf.TensorSpec(shape, dtype, name)

    mixed = [("f", tf.float32), ("i", tf.int64), ("s", tf.string), ("b", tf.bool)]

    class Multi(tf.Module):  # type: ignore[misc]
        pass

    def mix(f: tf.Tensor, i: tf.Tensor, s: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.strings.join([s, "!"])
        return {"f_out": f * 2, "i_out": i + 1, "s_out": text, "b_out": tf.logical_not(b), "s_bytes": tf.identity(s)}

    def slow(n: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cast(n, tf.float32) + 0 * _rounds(tf.reduce_max(n))}

    def two(a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": a + b, "diff": a - b}

    # The names of functions are in what TensorFlow says of their operations.
    def op_error(s: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.to_number(s)}

    def assert_error(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x > 0), [x], name="positive_check")]):
            return {"y": tf.identity(x)}

    def gather_error(i: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.gather(tf.constant([10.0, 20.0, 30.0]), i)}

    def const_out(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.identity(x), "const": tf.constant([1.5]) + 0 * tf.reduce_sum(x)}

    floats = [spec([None], tf.float32, "x")]
    functions = {
        "serving_default": (mix, [spec([None], dtype, name) for name, dtype in mixed]),
        "unbatched": (mix, [spec([], dtype, name) for name, dtype in mixed]),
        "scalar_out": (lambda x: {"sum": tf.reduce_sum(x)}, floats),
        "scalar_in": (lambda x: {"y": x * 2}, [spec([], tf.float32, "x")]),
        "matrix": (lambda x: {"y": x * 2}, [spec([None, 3], tf.float32, "x")]),
        "cube": (lambda x: {"y": x + 1}, [spec([None, 2, 2], tf.int32, "x")]),
        "img": (
            lambda image_bytes: {"out_bytes": tf.identity(image_bytes), "length": tf.strings.length(image_bytes)},
            [spec([None], tf.string, "image_bytes")],
        ),
        "img1": (lambda image_bytes: {"out_bytes": tf.identity(image_bytes)}, [spec([None], tf.string, "image_bytes")]),
        "text": (lambda text: {"text": tf.identity(text)}, [spec([None], tf.string, "text")]),
        "mismatch": (lambda x: {"a": tf.identity(x), "b": tf.concat([x, x], 0)}, floats),
        "empty_out": (lambda x: {"y": x[:0]}, floats),
        "div": (lambda x: {"y": tf.constant(1.0) / x, "d": tf.cast(x, tf.float64) / 3}, floats),
        "no_in": (lambda: {"y": tf.constant([42.0])}, []),
        "slow": (slow, [spec([None], tf.int64, "n")]),
        "two": (two, [spec([None, 2], tf.float32, name) for name in ("a", "b")]),
        "op_error": (op_error, [spec([None], tf.string, "s")]),
        "assert_error": (assert_error, floats),
        "gather_error": (gather_error, [spec([None], tf.int32, "i")]),
        "const_out": (const_out, floats),
        "unused_in": (lambda x, unused: {"y": x + 1}, [*floats, spec([None], tf.float32, "unused")]),
    }
    for name in DTYPES:
        functions[f"id_{name}"] = (lambda x: {"y": tf.identity(x)}, [spec(None, getattr(tf, name), "x")])
    model = Multi()
    model.functions = {name: tf.function(body, input_signature=inputs) for name, (body, inputs) in functions.items()}
    tf.saved_model.save(model, str(path), signatures=dict(model.functions))

"""Which signatures run on the event loop: small graphs without loops that have been quick."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.models import write_half_plus_two
from tests.server.arrays import core_of, half_plus_two
from tests.server.samples import write_multi
from tfsdeploy.server import proto_tensor
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.pace import MOST_NODES, QUICK_SECONDS, Pace, WouldWait, bounded
from tfsdeploy.server.rest import Rest


def paced(*seconds: float) -> bool:
    """Whether a signature with these runs is quick."""
    pace = Pace()
    for one in seconds:
        pace.took(one, 8)
    return pace.quick(8)


def test_quick_is_what_has_been_quick_nearly_always() -> None:
    quick, slow = QUICK_SECONDS / 2, QUICK_SECONDS * 2
    assert not paced()
    assert not paced(*[quick] * 15)
    assert paced(*[quick] * 16)
    assert not paced(*[quick] * 16, slow)
    # One that was held up by something else changes nothing for a signature that has been quick for long.
    assert paced(*[quick] * 100, slow)
    assert not paced(*[quick] * 1000, *[slow] * 7)
    assert not paced(*[quick, quick, quick, slow] * 100)


def test_larger_inputs_are_tried_in_a_thread_first_and_cost_the_small_ones_nothing() -> None:
    quick, slow = QUICK_SECONDS / 2, QUICK_SECONDS * 2
    pace = Pace()
    for size in (12, 4, *[12] * 20):
        pace.took(quick, size)
    assert pace.quick(12)
    assert not pace.quick(13)
    for _ in range(100):
        pace.took(slow, 1000)
    assert pace.quick(12)
    assert not pace.quick(1000)
    pace.took(quick, 100)
    assert pace.quick(100)
    assert not pace.quick(101)
    # Of a size that was quick once by chance: until it is found out, and then all sizes begin anew.
    for _ in range(8):
        pace.took(slow, 100)
    assert not pace.quick(1)
    for _ in range(20):
        pace.took(quick, 12)
    assert pace.quick(12)
    assert not pace.quick(100)


def test_a_size_that_is_fed_is_found(tmp_path: Path) -> None:
    """Not one that comes from the size of what is fed, and not one that stands in the graph."""
    import tensorflow as tf

    from tfsdeploy.server.saved_model import SavedModel

    text, numbers = tf.TensorSpec([None], tf.string, name="x"), tf.TensorSpec([None], tf.float32, name="x")
    one = tf.TensorSpec([], tf.int32, name="x")
    functions = {
        "fill": (lambda x: tf.fill([x], 1.0), one, False),
        "range": (lambda x: tf.range(x) + 1, one, False),
        "tile": (lambda x: tf.tile([1.0, 2.0], [x + 1]), one, False),
        "repeat": (lambda x: tf.sequence_mask(tf.cast(x, tf.int32)), numbers, False),
        "random": (lambda x: tf.random.uniform(tf.stack([x, 2])), one, False),
        "image": (lambda x: tf.io.decode_png(x[0]), text, False),
        "as many as there are": (
            lambda x: tf.fill([tf.size(x), 2], 1.0) + tf.zeros_like(x)[:, tf.newaxis],
            numbers,
            True,
        ),
        "labels": (lambda x: tf.tile([["a", "b"]], [tf.shape(x)[0], 1]), numbers, True),
        "one of eight": (lambda x: tf.one_hot(x, 8), one, True),
        "pad": (lambda x: tf.pad(x, [[1, 1]]), numbers, True),
    }
    for name, (function, spec, expected) in functions.items():
        module = tf.Module()
        signature = tf.function(lambda x, function=function: {"y": function(x)}, [spec])
        tf.saved_model.save(module, str(tmp_path / name), {"serving_default": signature})
        model = SavedModel(str(tmp_path / name))
        assert (model.call("serving_default").pace is not None) is expected, name
        model.close()


def test_inputs_larger_than_any_that_was_quick_are_not_run_on_the_event_loop(tmp_path: Path) -> None:
    from tfsdeploy.server.saved_model import SavedModel

    write_half_plus_two(tmp_path)
    model = SavedModel(str(tmp_path))
    pace = model.call("serving_default").pace
    assert pace is not None
    for _ in range(20):
        pace.took(0.0, 3 * 4)
    core = core_of({"half": {1: model}})
    rest = Rest(core, Metrics())
    asked = ("POST", "/v1/models/half:predict", {})
    assert rest.handle(*asked, b'{"instances": [1.0, 2.0, 5.0]}', wait=False).code == 200
    with pytest.raises(WouldWait):
        rest.handle(*asked, b'{"instances": [1.0, 2.0, 5.0, 7.0]}', wait=False)
    core.manager.close()
    model.close()


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["Placeholder", "Mul", "AddV2", "Identity"], True),
        (["ReadVariableOp", "DisableCopyOnRead", "MatMul"], True),
        (["Placeholder", "While"], False),
        (["Enter", "NextIteration", "Exit"], False),
        (["EagerPyFunc"], False),
        (["QueueDequeueV2"], False),
        (["IteratorGetNext"], False),
        (["Batch"], False),
        (["BatchMatMulV2"], True),
        (["NoOp"] * (MOST_NODES + 1), False),
    ],
)
def test_a_graph_without_loops_is_bounded(operations: list[str], expected: bool) -> None:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph = GraphDef()
    for operation in operations:
        graph.node.add(op=operation)
    in_function = GraphDef()
    for operation in operations:
        in_function.library.function.add().node_def.add(op=operation)
    assert (bounded(graph), bounded(in_function)) == (expected, expected)


def test_what_tensorflow_2_saves_beside_a_model_is_no_part_of_it(tmp_path: Path) -> None:
    import tensorflow as tf

    from tfsdeploy.server.saved_model import SavedModel

    module = tf.Module()
    module.half = tf.Variable(0.5)
    serve = tf.function(lambda x: {"y": module.half * x + 2.0}, [tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": serve})
    model = SavedModel(str(tmp_path))
    assert model.call("serving_default", 30_000).pace is not None
    model.close()


def test_loops_are_found_in_saved_models(tmp_path: Path) -> None:
    from tfsdeploy.server.saved_model import SavedModel

    write_half_plus_two(tmp_path / "half")
    write_multi(tmp_path / "multi")
    half, multi = SavedModel(str(tmp_path / "half")), SavedModel(str(tmp_path / "multi"))
    for model in (half, multi):
        assert not model.quick("serving_default")
    call, array = half.call("serving_default", 30_000), half_plus_two_input()
    runs = 0
    # By the processor's time, of which another process may cost some: its caches.
    while not half.quick("serving_default"):
        half.run(call, {"x": array})
        runs += 1
        assert runs < 20_000
    assert multi.call("slow").pace is None
    half.close()
    multi.close()


def half_plus_two_input() -> object:
    """Three floats."""
    import numpy as np

    return np.array([1, 2, 5], np.float32)


def test_who_cannot_wait_is_told_so_and_counted_once() -> None:
    model = half_plus_two()
    model.quick = lambda *_: False  # type: ignore[attr-defined]
    core, metrics = core_of({"half": {1: model}}), Metrics()
    rest = Rest(core, metrics)
    asked = ("POST", "/v1/models/half:predict", {}, b'{"instances": [1.0]}')
    with pytest.raises(WouldWait):
        rest.handle(*asked, wait=False)
    assert "half" not in metrics.page()
    assert rest.handle(*asked).code == 200
    assert 'request_count{model_name="half",status="OK"} 1' in metrics.page()
    core.manager.close()


def test_what_may_be_much_larger_than_it_came_waits() -> None:
    from tensorflow.core.framework import tensor_pb2, types_pb2

    model = half_plus_two()
    core = core_of({"half": {1: model}})
    with pytest.raises(WouldWait):
        Rest(core, Metrics()).handle(
            "POST", "/v1/models/half:predict", {"content-encoding": "gzip"}, gzip.compress(b"{}"), wait=False
        )
    core.manager.close()
    repeated = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    repeated.tensor_shape.dim.add(size=1 << 20)
    call = model.call("serving_default")
    with pytest.raises(WouldWait):
        proto_tensor.inputs_of({"x": repeated}, call, wait=False)
    assert proto_tensor.inputs_of({"x": repeated}, call)["x"].shape == (1 << 20,)

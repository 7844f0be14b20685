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
        pace.took(one)
    return pace.quick


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

    from tfsdeploy.server.servable import SavedModel

    module = tf.Module()
    module.half = tf.Variable(0.5)
    serve = tf.function(lambda x: {"y": module.half * x + 2.0}, [tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": serve})
    model = SavedModel(str(tmp_path))
    assert model.call("serving_default", 30_000).pace is not None
    model.close()


def test_loops_are_found_in_saved_models(tmp_path: Path) -> None:
    from tfsdeploy.server.servable import SavedModel

    write_half_plus_two(tmp_path / "half")
    write_multi(tmp_path / "multi")
    half, multi = SavedModel(str(tmp_path / "half")), SavedModel(str(tmp_path / "multi"))
    for model in (half, multi):
        assert not model.quick("serving_default")
    call, array = half.call("serving_default", 30_000), half_plus_two_input()
    for _ in range(200):
        half.run(call, {"x": array})
    assert half.quick("serving_default")
    assert multi.call("slow").pace is None
    half.close()
    multi.close()


def half_plus_two_input() -> object:
    """Three floats."""
    import numpy as np

    return np.array([1, 2, 5], np.float32)


def test_who_cannot_wait_is_told_so_and_counted_once() -> None:
    model = half_plus_two()
    model.quick = lambda name: False  # type: ignore[attr-defined]
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

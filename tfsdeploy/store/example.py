"""The example model of `tfsdeploy init`, half_plus_two, written without TensorFlow."""

from __future__ import annotations

from pathlib import Path

from tfsdeploy.protocol.wire import AttrValue, GraphDef, MetaGraphDef, NodeDef, SavedModel, TensorInfo, tensor
from tfsdeploy.store.savedmodel import SAVED_MODEL

# GraphDef producer of TensorFlow 1.15 (tensorflow/core/public/version.h): the first that has AddV2, and 2.x reads it.
_PRODUCER = 134


def write_example(path: Path, offset: float = 2.0) -> None:
    """Write a SavedModel without variables that answers ``y = x / 2 + offset`` for every row of ``x`` (float).

    Args:
        path: its folder; made, with its parents.
        offset: so that versions can be told apart.

    Raises:
        OSError: it cannot be written.
    """
    graph = GraphDef(
        node=[
            _node("x", "Placeholder", dtype=_FLOAT, shape=AttrValue(shape=_rows().tensor_shape)),
            _constant("half", 0.5),
            _constant("offset", offset),
            _node("product", "Mul", "x", "half", T=_FLOAT),
            _node("y", "AddV2", "product", "offset", T=_FLOAT),
        ]
    )
    graph.versions.producer = _PRODUCER
    meta = MetaGraphDef(graph_def=graph.SerializeToString(deterministic=True))
    meta.meta_info_def.tags.append("serve")
    signature = meta.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["x"].CopyFrom(_rows("x:0"))
    signature.outputs["y"].CopyFrom(_rows("y:0"))
    model = SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    path.mkdir(parents=True, exist_ok=True)
    # In one order always: equal models have equal bytes, so pushing one twice is no change.
    (path / SAVED_MODEL).write_bytes(model.SerializeToString(deterministic=True))


_FLOAT = AttrValue(type="DT_FLOAT")


def _rows(name: str = "") -> TensorInfo:
    info = TensorInfo(name=name, dtype="DT_FLOAT")
    info.tensor_shape.dim.add(size=-1)
    return info


def _constant(name: str, value: float) -> NodeDef:
    return _node(name, "Const", dtype=_FLOAT, value=AttrValue(tensor=tensor(value)))


def _node(name: str, op: str, *inputs: str, **attributes: AttrValue) -> NodeDef:
    return NodeDef(name=name, op=op, input=inputs, attr=attributes)

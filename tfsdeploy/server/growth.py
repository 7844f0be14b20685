"""Whether values that a graph is fed may say how large its tensors become: some bytes may then ask for gigabytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

# Which inputs of an operation say how large its output is (core/ops/*.cc).
_SIZES: Final[Mapping[str, tuple[int, ...]]] = {
    "BroadcastTo": (1,), "Conv2DBackpropInput": (0,), "Conv3DBackpropInputV2": (0,), "CropAndResize": (3,),
    "Empty": (0,), "Fill": (0,), "IRFFT": (1,), "IRFFT2D": (1,), "IRFFT3D": (1,), "LinSpace": (2,),
    "MatrixDiagV2": (1, 2, 3), "MatrixDiagV3": (1, 2, 3), "MirrorPad": (1,), "OneHot": (1,), "Pad": (1,),
    "PadV2": (1,), "RFFT": (1,), "RFFT2D": (1,), "RFFT3D": (1,), "Range": (0, 1, 2), "ScaleAndTranslate": (1,),
    "ScatterNd": (2,), "SpaceToBatch": (1,), "SpaceToBatchND": (1, 2), "TensorListReserve": (1,), "Tile": (1,),
}  # fmt: skip
# Of these families any input may, or a compressed one unfolds; names contain these.
_FAMILIES: Final = (
    "Bincount", "Decode", "DynamicStitch", "Multinomial", "ParseTensor", "Ragged", "Random", "Resize", "Sparse",
    "StandardNormal", "StatefulUniform", "TruncatedNormal", "UnsortedSegment",
)  # fmt: skip
_PLAIN: Final = frozenset({"DecodeBase64", "DecodeRaw"})
# What these give does not depend on the values that they take.
_KNOWN: Final = frozenset({"Const", "ReadVariableOp", "Rank", "Shape", "ShapeN", "Size", "VarHandleOp", "VariableV2"})


def grows(graph: Any) -> bool:
    """Whether a tensor of a GraphDef has a size that a fed value gives, other than by its own size.

    A function's arguments count as fed, whatever its callers make of them.
    """
    return any(_any_grows(nodes) for nodes in (graph.node, *(one.node_def for one in graph.library.function)))


def _any_grows(nodes: Iterable[Any]) -> bool:
    by_name = {node.name: node for node in nodes}
    seen: set[str] = set()
    return any(_fed(name, by_name, seen) for node in by_name.values() for name in _sizes_of(node))


def _sizes_of(node: Any) -> list[str]:
    """The inputs of a node that say how large what it makes is."""
    places = _SIZES.get(node.op)
    if places is None and (node.op in _PLAIN or not any(family in node.op for family in _FAMILIES)):
        return []
    return [name for at, name in enumerate(_inputs(node)) if places is None or at in places]


def _fed(name: str, by_name: Mapping[str, Any], seen: set[str]) -> bool:
    """Whether a value depends on one that is fed; ``seen``: those that turned out not to."""
    waiting = [name]
    while waiting:
        name = waiting.pop().partition(":")[0]
        if name in seen:
            continue
        seen.add(name)
        node = by_name.get(name)
        if node is None or node.op.startswith("Placeholder"):
            return True
        if node.op not in _KNOWN:
            waiting += _inputs(node)
    return False


def _inputs(node: Any) -> list[str]:
    return [name for name in node.input if not name.startswith("^")]

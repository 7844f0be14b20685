"""What a ``model.tflite`` says of itself, read without TensorFlow: its signatures, and how it is built.

A FlatBuffer by tensorflow/compiler/mlir/lite/schema/schema.fbs. A table's field N has the slot 4 + 2 N.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from mmap import mmap

from flatbuffers import flexbuffers, number_types
from flatbuffers.table import Table
from google.protobuf.message import DecodeError

from tfsdeploy.protocol.wire import SignatureDef, TensorInfo

PREDICT_METHOD = "tensorflow/serving/predict"

_IDENTIFIER = b"TFL3"
_METADATA = "signature_defs_metadata"

# TensorType -> DataType (both by number, framework/types.proto).
_DTYPES = (
    "DT_FLOAT", "DT_HALF", "DT_INT32", "DT_UINT8", "DT_INT64", "DT_STRING", "DT_BOOL", "DT_INT16", "DT_COMPLEX64",
    "DT_INT8", "DT_DOUBLE", "DT_COMPLEX128", "DT_UINT64", "DT_RESOURCE", "DT_VARIANT", "DT_UINT32", "DT_UINT16",
    "DT_INT4", "DT_BFLOAT16", "DT_INT2", "DT_UINT4",
)  # fmt: skip


class NoTFLite(ValueError):
    """The bytes are no TFLite model, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model.

    Attributes:
        definition: its SignatureDef; a size that is open is -1.
        subgraph: number of the subgraph that it runs; the primary one is 0.
        inputs: alias -> number of the tensor in that subgraph.
        outputs: the same.
        shapes: of the inputs' tensors, by alias; an open size is -1. None: the rank is open, too.
    """

    definition: SignatureDef
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...] | None]


@dataclass(frozen=True, slots=True)
class Model:
    """A TFLite model.

    Attributes:
        signatures: by name.
        operators: of all its subgraphs together.
        straight: one subgraph, so no loops and branches, and no operators but TFLite's own.
    """

    signatures: Mapping[str, Signature]
    operators: int
    straight: bool


def read(content: bytes | mmap, *, converters: bool = True) -> Model:
    """Read a model's description.

    Signatures are those that were put into its metadata (lite/tools/signature), else those that the converter wrote,
    else one is made of the primary subgraph's inputs and outputs.

    Args:
        content: the file.
        converters: False: pass over those that the converter wrote, as TF Serving 2.20 does (tflite_session.cc).

    Raises:
        NoTFLite: it is none, or not whole.
    """
    if content[4:8] != _IDENTIFIER:
        raise NoTFLite("it is no TFLite model: TFL3 is not in its head")
    try:
        return _model(_Table(content, struct.unpack_from("<I", content)[0]), converters=converters)
    except (struct.error, IndexError, TypeError, ValueError, DecodeError) as error:
        why = f": {error}" if isinstance(error, NoTFLite) else ""
        raise NoTFLite(f"the TFLite model is damaged or incomplete{why}") from error


def _model(model: _Table, *, converters: bool) -> Model:
    graphs = [_Graph(graph) for graph in model.tables(2)]
    if not graphs:
        raise NoTFLite("it has no graph")
    # Weights are most of a file, and what is missing of one that was cut short.
    buffers = [buffer.span(0) for buffer in model.tables(4)]
    signatures = _from_metadata(model, buffers, graphs[0])
    if not signatures and converters:
        signatures = dict(_from_converter(model, graphs))
    operators = sum(graph.operators for graph in graphs)
    own = any(code.text(1) for code in model.tables(1))
    return Model(signatures or _made_up(graphs[0]), operators, straight=len(graphs) == 1 and not own)


class _Graph:
    """A subgraph: the numbers of its inputs and outputs, and what each tensor is."""

    def __init__(self, table: _Table) -> None:
        self._tensors = list(table.tables(0))
        self.inputs = table.numbers(1)
        self.outputs = table.numbers(2)
        self.operators = table.count(3)
        self.names = [tensor.text(3) for tensor in self._tensors]

    def shape(self, index: int) -> tuple[int, ...] | None:
        tensor = self._tensors[index]
        shape = tensor.numbers(7) or tensor.numbers(0)
        return shape if shape or tensor.byte(8) else None

    def shapes(self, numbers: Mapping[str, int]) -> dict[str, tuple[int, ...] | None]:
        return {alias: self.shape(index) for alias, index in numbers.items()}

    def info(self, index: int) -> TensorInfo:
        kind, shape = self._tensors[index].byte(1), self.shape(index)
        info = TensorInfo(name=self.names[index], dtype=_DTYPES[kind] if kind < len(_DTYPES) else "DT_INVALID")
        info.tensor_shape.unknown_rank = shape is None
        for size in shape or ():
            info.tensor_shape.dim.add(size=size)
        return info

    def named(self, infos: MutableMapping[str, TensorInfo], among: Iterable[int]) -> dict[str, int]:
        """The tensors that a SignatureDef names, by alias; it gets the names that they have here.

        Early converters left out the ``:0`` that TensorFlow's names have.
        """
        numbers = {self.names[index]: index for index in among}
        found = {}
        for alias, info in infos.items():
            index = numbers.get(info.name, numbers.get(_short(info.name)))
            if index is None:
                raise NoTFLite(f"a signature names a tensor that is not there: {info.name!r}")
            found[alias], info.name = index, self.names[index]
            if not info.dtype:
                info.CopyFrom(self.info(index))
        return found


def _from_metadata(model: _Table, buffers: list[tuple[int, int]], graph: _Graph) -> dict[str, Signature]:
    """SignatureDefs in a FlexBuffer's map by name; their tensors are the primary subgraph's."""
    place = next((entry.number(1) for entry in model.tables(6) if entry.text(0) == _METADATA), None)
    if place is None:
        return {}
    start, end = buffers[place]
    found = {}
    packed = flexbuffers.GetRoot(bytearray(model.content[start:end])).AsMap
    for name, value in zip(packed.Keys, packed.Values, strict=True):
        definition = SignatureDef.FromString(value.AsStringBytes)
        inputs = graph.named(definition.inputs, graph.inputs)
        outputs = graph.named(definition.outputs, graph.outputs)
        found[name.AsKey] = Signature(definition, 0, inputs, outputs, graph.shapes(inputs))
    return found


def _from_converter(model: _Table, graphs: list[_Graph]) -> Iterator[tuple[str, Signature]]:
    for entry in model.tables(7):
        subgraph = entry.number(4)
        inputs = {one.text(0): one.number(1) for one in entry.tables(0)}
        outputs = {one.text(0): one.number(1) for one in entry.tables(1)}
        yield entry.text(2), _signature(graphs[subgraph], inputs, outputs, subgraph)


def _made_up(graph: _Graph) -> dict[str, Signature]:
    return {"serving_default": _signature(graph, _aliases(graph, graph.inputs), _aliases(graph, graph.outputs))}


def _aliases(graph: _Graph, indices: Iterable[int]) -> dict[str, int]:
    """Tensors by their names, without the ``:0`` unless that makes two of them the same."""
    names = {graph.names[index]: index for index in indices}
    times = Counter(map(_short, names))
    return {_short(name) if times[_short(name)] == 1 else name: index for name, index in names.items()}


def _signature(graph: _Graph, inputs: Mapping[str, int], outputs: Mapping[str, int], subgraph: int = 0) -> Signature:
    definition = SignatureDef(method_name=PREDICT_METHOD)
    for infos, numbers in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for alias, index in numbers.items():
            infos[alias].CopyFrom(graph.info(index))
    return Signature(definition, subgraph, inputs, outputs, graph.shapes(inputs))


def _short(name: str) -> str:
    return name.partition(":")[0]


class _Table:
    """A FlatBuffer's table; fields are counted from 0, and what is not there is empty, or 0."""

    def __init__(self, content: bytes | mmap, place: int) -> None:
        self.content = content
        self._table = Table(content, place)

    def number(self, field: int) -> int:
        return int(self._table.GetSlot(_slot(field), 0, number_types.Uint32Flags))

    def byte(self, field: int) -> int:
        return int(self._table.GetSlot(_slot(field), 0, number_types.Uint8Flags))

    def text(self, field: int) -> str:
        start, end = self.span(field)
        return self.content[start:end].decode()

    def numbers(self, field: int) -> tuple[int, ...]:
        start, end = self.span(field, 4)
        return struct.unpack(f"<{(end - start) // 4}i", self.content[start:end])

    def tables(self, field: int) -> Iterator[_Table]:
        for at in range(*self.span(field, 4), 4):
            yield _Table(self.content, self._table.Indirect(at))

    def count(self, field: int) -> int:
        start, end = self.span(field, 4)
        return (end - start) // 4

    def span(self, field: int, size: int = 1) -> tuple[int, int]:
        """Where a vector of elements of so many bytes begins and ends."""
        offset = self._table.Offset(_slot(field))
        if not offset:
            return 0, 0
        start = self._table.Vector(offset)
        end = start + size * self._table.VectorLen(offset)
        if end > len(self.content):
            raise NoTFLite(f"it ends before byte {end}")
        return start, end


def _slot(field: int) -> int:
    return 4 + 2 * field

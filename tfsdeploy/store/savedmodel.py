"""What a SavedModel is, or a TFLite model in its place, read from its files without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from tfsdeploy.errors import UsageError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.protocol.wire import DataType, MetaGraphDef, SavedModel, SignatureDef, TensorInfo
from tfsdeploy.store.checkpoint import INDEX, Torn, check_variables
from tfsdeploy.store.lookalikes import what_is

SAVED_MODEL = "saved_model.pb"
TFLITE = "model.tflite"
WARM_UP = "assets.extra/tf_serving_warmup_requests"
ASSETS = "assets/"

Shape = tuple[int | None, ...] | None
"""Sizes, None where any size goes; None altogether if the rank is unknown."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a signature.

    Attributes:
        name: the alias that clients use.
        dtype: without the prefix, such as ``float`` or ``int64``.
        shape: sizes, None where any size goes; None altogether if the rank is unknown.
        tensor: the tensor's name in the graph.
    """

    name: str
    dtype: str
    shape: Shape
    tensor: str


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model: its inputs and outputs by alias, and TF Serving's method name."""

    name: str
    method: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of a SavedModel: its tags, sorted, and its signatures by name."""

    tags: tuple[str, ...]
    signatures: Mapping[str, Signature]


@dataclass(frozen=True, slots=True)
class SavedModelInfo:
    """What can be said of a SavedModel without loading it.

    Attributes:
        path: its folder, or its URL in an object store.
        bytes: of all files together.
        served: the graph that TF Serving loads unless a flag names other tags.
        others: its other graphs, such as one for training.
        tensorflow: the version that wrote it; None if it does not say.
        keras: whether Keras made it.
        variables: how many it has.
        warm_up: whether it carries warm-up requests.
        assets: names of its asset files.
        tflite: the signatures of the TFLite model beside it, or instead of it; None without one.
    """

    path: str
    bytes: int
    served: Graph
    others: tuple[Graph, ...]
    tensorflow: str | None
    keras: bool
    variables: int
    warm_up: bool
    assets: tuple[str, ...]
    tflite: Mapping[str, Signature] | None = None

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures of the graph that is served."""
        return self.served.signatures


def inspect(path: Path) -> SavedModelInfo:
    """Read a SavedModel's description.

    Args:
        path: the folder that holds ``saved_model.pb``, ``model.tflite`` or both.

    Raises:
        UsageError: it is no complete SavedModel; says what it is.
    """
    try:
        tflite = _tflite(path)
        if tflite is not None and is_tflite_alone(entry.name for entry in path.iterdir()):
            return _described_tflite(path, tflite)
        return _described(path, _parsed(path), tflite)
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}", where=str(error.filename or path)) from error


def is_tflite_alone(files: Iterable[str]) -> bool:
    """Whether a version is a TFLite model and no SavedModel, by the names of its files or of what is in its folder."""
    names = set(files)
    return TFLITE in names and SAVED_MODEL not in names and not any(name.startswith("variables") for name in names)


def _described(path: Path, message: SavedModel, tflite: Mapping[str, Signature] | None) -> SavedModelInfo:
    graph = next((g for g in message.meta_graphs if "serve" in g.meta_info_def.tags), message.meta_graphs[0])
    return replace(
        _folder(path, _graph(graph), tflite),
        others=tuple(_graph(other) for other in message.meta_graphs if other is not graph),
        tensorflow=graph.meta_info_def.tensorflow_version or None,
        keras=b"keras" in graph.object_graph_def,
        variables=_variables(path, graph),
    )


def _described_tflite(path: Path, tflite: Mapping[str, Signature]) -> SavedModelInfo:
    return _folder(path, Graph((), tflite), tflite)


def _folder(path: Path, served: Graph, tflite: Mapping[str, Signature] | None) -> SavedModelInfo:
    """What is told by names and sizes alone."""
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    return SavedModelInfo(
        path=str(path),
        bytes=sum(file.stat().st_size for name, file in files.items() if name != RECORD_FILE),
        served=served,
        others=(),
        tensorflow=None,
        keras=False,
        variables=0,
        warm_up=WARM_UP in files,
        assets=tuple(sorted(name.removeprefix(ASSETS) for name in files if name.startswith(ASSETS))),
        tflite=tflite,
    )


def _tflite(path: Path) -> Mapping[str, Signature] | None:
    """The signatures of a folder's TFLite model; None without one."""
    file = path / TFLITE
    if not file.is_file():
        return None
    # Few have one, and its reader takes numpy along.
    from tfsdeploy.protocol import tflite

    try:
        with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
            found = tflite.read(content)
    except ValueError as error:  # also of a file that is empty
        hint = "if it was copied only in part, copy it again"
        raise UsageError(f"{TFLITE} cannot be read: {error}", where=str(path), hint=hint) from error
    return {name: _signature(name, signature.definition) for name, signature in sorted(found.signatures.items())}


def _variables(path: Path, graph: MetaGraphDef) -> int:
    """How many variables are there, all of them complete.

    TF Serving does not ask: it loads a model without its variables, and every request to it fails.
    """
    folder = path / "variables"
    restores = bool(graph.saver_def or graph.object_graph_def)
    if not restores and not (folder / INDEX).exists():
        return 0
    try:
        return check_variables(folder)
    except Torn as error:
        hint = "it was copied only in part; copy it again"
        raise UsageError(f"this SavedModel is incomplete: {error}", where=str(path), hint=hint) from error


def compatible(old: Mapping[str, Signature], new: Mapping[str, Signature]) -> tuple[str, ...]:
    """Why clients of the old version's signatures would break with the new ones; empty if they would not.

    What takes more than it did, or tells more, breaks nobody: a size that becomes any size in an input, an output or a
    signature more.
    """
    reasons: list[str] = []
    for name, before in old.items():
        if name.startswith("__"):
            continue
        after = new.get(name)
        if after is None:
            reasons.append(f"signature {name} is gone")
            continue
        if after.method != before.method:
            reasons.append(f"signature {name} was called by {before.method} and is by {after.method}")
        reasons += _differences(f"{name} input", before.inputs, after.inputs, _takes)
        reasons += [
            f"{name} input {alias} is new, and clients do not send it"
            for alias in sorted(after.inputs.keys() - before.inputs.keys())
        ]
        reasons += _differences(f"{name} output", before.outputs, after.outputs, _fits)
    return tuple(reasons)


def _differences(
    what: str, before: Mapping[str, Tensor], after: Mapping[str, Tensor], goes: Callable[[Shape, Shape], bool]
) -> list[str]:
    found = []
    for alias, old in before.items():
        new = after.get(alias)
        if new is None:
            found.append(f"{what} {alias} is gone")
        elif new.dtype != old.dtype:
            found.append(f"{what} {alias} was {old.dtype} and is {new.dtype}")
        elif not goes(old.shape, new.shape):
            found.append(f"{what} {alias} had shape {shape_words(old.shape)} and has {shape_words(new.shape)}")
    return found


def _takes(old: Shape, new: Shape) -> bool:
    """Whether an input takes all that it took."""
    if old is None or new is None:
        return new is None
    return len(old) == len(new) and all(b is None or a == b for a, b in zip(old, new, strict=True))


def _fits(old: Shape, new: Shape) -> bool:
    """Whether an output may look as it did: a size that is not told can be any."""
    if old is None or new is None:
        return True
    return len(old) == len(new) and all(a is None or b is None or a == b for a, b in zip(old, new, strict=True))


def shape_words(shape: Shape) -> str:
    """A shape as people write it; ``?`` is any size."""
    return "of unknown rank" if shape is None else "[" + ", ".join("?" if s is None else str(s) for s in shape) + "]"


def to_plain(info: SavedModelInfo) -> dict[str, Any]:
    """The description as JSON values, as `inspect -o json` shows it and agents tell it."""
    return {
        "path": info.path,
        "bytes": info.bytes,
        "tensorflow": info.tensorflow,
        "keras": info.keras,
        "variables": info.variables,
        "warmUp": info.warm_up,
        "assets": list(info.assets),
        **_graph_to_plain(info.served),
        "others": [_graph_to_plain(graph) for graph in info.others],
        "tflite": None if info.tflite is None else signatures_to_plain(info.tflite),
    }


def from_plain(plain: Mapping[str, Any]) -> SavedModelInfo:
    """The inverse of `to_plain`; unknown keys are ignored.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return SavedModelInfo(
            path=str(plain["path"]),
            bytes=int(plain["bytes"]),
            served=_graph_from_plain(plain),
            others=tuple(_graph_from_plain(graph) for graph in plain["others"]),
            tensorflow=plain["tensorflow"],
            keras=bool(plain["keras"]),
            variables=int(plain["variables"]),
            warm_up=bool(plain["warmUp"]),
            assets=tuple(plain["assets"]),
            # An agent of an earlier version does not tell.
            tflite=None if plain.get("tflite") is None else signatures_from_plain(plain["tflite"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not the description of a SavedModel: {type(error).__name__}: {error}") from error


def signatures_to_plain(signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """Signatures as JSON values, as `inspect -o json` shows them and commit records keep them."""
    return {
        name: {
            "method": signature.method,
            "inputs": {alias: _tensor_to_plain(tensor) for alias, tensor in signature.inputs.items()},
            "outputs": {alias: _tensor_to_plain(tensor) for alias, tensor in signature.outputs.items()},
        }
        for name, signature in signatures.items()
    }


def signatures_from_plain(plain: Mapping[str, Any]) -> dict[str, Signature]:
    """The inverse of `signatures_to_plain`; unknown keys are ignored.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return {
            name: Signature(
                name,
                signature["method"],
                {alias: _tensor_from_plain(alias, tensor) for alias, tensor in signature["inputs"].items()},
                {alias: _tensor_from_plain(alias, tensor) for alias, tensor in signature["outputs"].items()},
            )
            for name, signature in plain.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no signatures of a SavedModel: {type(error).__name__}: {error}") from error


def _graph_to_plain(graph: Graph) -> dict[str, Any]:
    return {"tags": list(graph.tags), "signatures": signatures_to_plain(graph.signatures)}


def _graph_from_plain(plain: Mapping[str, Any]) -> Graph:
    return Graph(tuple(plain["tags"]), signatures_from_plain(plain["signatures"]))


def _tensor_to_plain(tensor: Tensor) -> dict[str, Any]:
    shape = None if tensor.shape is None else [-1 if size is None else size for size in tensor.shape]
    return {"dtype": tensor.dtype, "shape": shape, "name": tensor.tensor}


def _tensor_from_plain(alias: str, plain: Mapping[str, Any]) -> Tensor:
    shape = None if plain["shape"] is None else tuple(None if size < 0 else size for size in plain["shape"])
    return Tensor(alias, plain["dtype"], shape, plain["name"])


def _parsed(path: Path) -> SavedModel:
    if not (path / SAVED_MODEL).is_file():
        what, hint = what_is(path)
        raise UsageError(f"not a SavedModel: {what}", where=str(path), hint=hint)
    try:
        message = SavedModel.FromString((path / SAVED_MODEL).read_bytes())
    except DecodeError as error:
        raise UsageError(f"{SAVED_MODEL} cannot be parsed: it is damaged or incomplete", where=str(path)) from error
    if not message.meta_graphs:
        raise UsageError(f"{SAVED_MODEL} holds no graph: it is empty, incomplete, or a frozen graph", where=str(path))
    return message


def _graph(found: MetaGraphDef) -> Graph:
    signatures = {name: _signature(name, signature) for name, signature in sorted(found.signature_def.items())}
    return Graph(tuple(sorted(found.meta_info_def.tags)), signatures)


def _signature(name: str, found: SignatureDef) -> Signature:
    return Signature(
        name,
        found.method_name,
        {alias: _tensor(alias, info) for alias, info in sorted(found.inputs.items())},
        {alias: _tensor(alias, info) for alias, info in sorted(found.outputs.items())},
    )


def _tensor(alias: str, info: TensorInfo) -> Tensor:
    shape = (
        None if info.tensor_shape.unknown_rank else tuple(None if d.size < 0 else d.size for d in info.tensor_shape.dim)
    )
    try:
        dtype = DataType.Name(info.dtype).removeprefix("DT_").lower()
    except ValueError:
        dtype = str(info.dtype)
    return Tensor(alias, dtype, shape, info.name)

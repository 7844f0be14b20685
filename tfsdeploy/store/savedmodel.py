"""What a SavedModel is, read from its files without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from tfsdeploy.errors import UsageError
from tfsdeploy.names import RECORD_FILE, parse_version
from tfsdeploy.protocol.wire import DataType, SavedModel, SignatureDef, TensorInfo

SAVED_MODEL = "saved_model.pb"
WARM_UP = "assets.extra/tf_serving_warmup_requests"
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})\Z")


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
    shape: tuple[int | None, ...] | None
    tensor: str


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model: its inputs and outputs by alias, and TF Serving's method name."""

    name: str
    method: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class SavedModelInfo:
    """What can be said of a SavedModel without loading it.

    Attributes:
        path: its folder.
        bytes: of all files together.
        tags: of the graph that TF Serving loads.
        signatures: name -> signature.
        tensorflow: the version that wrote it; None if it does not say.
        variables: bytes of the variables' shards; 0 if it has none.
        warm_up: whether it carries warm-up requests.
        assets: names of its asset files.
    """

    path: Path
    bytes: int
    tags: tuple[str, ...]
    signatures: Mapping[str, Signature]
    tensorflow: str | None
    variables: int
    warm_up: bool
    assets: tuple[str, ...]


def inspect(path: Path) -> SavedModelInfo:
    """Read a SavedModel's description.

    Args:
        path: the folder that holds ``saved_model.pb``.

    Raises:
        UsageError: it is no complete SavedModel; says what it is.
    """
    message = _parsed(path)
    graph = next((g for g in message.meta_graphs if "serve" in g.meta_info_def.tags), message.meta_graphs[0])
    shards = _shards(path)
    restores = bool(graph.saver_def or graph.object_graph_def)
    if restores and (problem := _missing_variables(path, shards)):
        raise UsageError(
            f"this SavedModel is incomplete: {problem}",
            where=str(path),
            hint="it was copied only in part; copy it again",
        )
    files = [file for file in path.rglob("*") if file.is_file()]
    assets = path / "assets"
    return SavedModelInfo(
        path=path,
        bytes=sum(file.stat().st_size for file in files if file.name != RECORD_FILE),
        tags=tuple(sorted(graph.meta_info_def.tags)),
        signatures={name: _signature(name, found) for name, found in sorted(graph.signature_def.items())},
        tensorflow=graph.meta_info_def.tensorflow_version or None,
        variables=sum(shard.stat().st_size for shard in shards),
        warm_up=(path / WARM_UP).is_file(),
        assets=tuple(sorted(str(a.relative_to(assets)) for a in assets.rglob("*") if a.is_file()))
        if assets.is_dir()
        else (),
    )


def compatible(old: SavedModelInfo, new: SavedModelInfo) -> tuple[str, ...]:
    """Why clients of the old version's signatures would break with the new one; empty if they would not."""
    reasons: list[str] = []
    for name, before in old.signatures.items():
        if name.startswith("__"):
            continue
        after = new.signatures.get(name)
        if after is None:
            reasons.append(f"signature {name} is gone")
            continue
        reasons += _differences(f"{name} input", before.inputs, after.inputs)
        reasons += [
            f"{name} input {alias} is new, and clients do not send it"
            for alias in after.inputs.keys() - before.inputs.keys()
        ]
        reasons += _differences(f"{name} output", before.outputs, after.outputs)
    return tuple(reasons)


def _differences(what: str, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    found = []
    for alias, old in before.items():
        new = after.get(alias)
        if new is None:
            found.append(f"{what} {alias} is gone")
        elif new.dtype != old.dtype:
            found.append(f"{what} {alias} was {old.dtype} and is {new.dtype}")
        elif not _fits(old.shape, new.shape):
            found.append(f"{what} {alias} had shape {shape_words(old.shape)} and has {shape_words(new.shape)}")
    return found


def _fits(old: tuple[int | None, ...] | None, new: tuple[int | None, ...] | None) -> bool:
    if old is None or new is None:
        return True
    return len(old) == len(new) and all(a is None or b is None or a == b for a, b in zip(old, new, strict=True))


def shape_words(shape: tuple[int | None, ...] | None) -> str:
    """A shape as people write it; ``?`` is any size."""
    return "of unknown rank" if shape is None else "[" + ", ".join("?" if s is None else str(s) for s in shape) + "]"


def _parsed(path: Path) -> SavedModel:
    if not (path / SAVED_MODEL).is_file():
        raise UsageError(
            f"not a SavedModel: {what_is(path)}",
            where=str(path),
            hint="save it with model.export(...) or tf.saved_model.save(...)",
        )
    try:
        message = SavedModel.FromString((path / SAVED_MODEL).read_bytes())
    except DecodeError as error:
        raise UsageError(f"{SAVED_MODEL} cannot be parsed: it is damaged or incomplete", where=str(path)) from error
    except OSError as error:
        raise UsageError(f"{SAVED_MODEL} cannot be read: {error.strerror}", where=str(path)) from error
    if not message.meta_graphs:
        raise UsageError(f"{SAVED_MODEL} holds no graph: it is empty or incomplete", where=str(path))
    return message


def what_is(path: Path) -> str:
    """What a path is, when it is no SavedModel."""
    if not path.exists():
        return "nothing is there"
    if path.is_file():
        kinds = {
            ".h5": "a Keras HDF5 file",
            ".keras": "a Keras file",
            ".tflite": "a TFLite file",
            ".pb": "a frozen graph or a single .pb file",
            ".zip": "a zip archive",
            ".gz": "a compressed archive",
            ".tar": "an archive",
            ".onnx": "an ONNX file",
        }
        return kinds.get(path.suffix, "it is a file, not a folder")
    names = sorted(entry.name for entry in path.iterdir())
    versions = [name for name in names if parse_version(name) and (path / name / SAVED_MODEL).is_file()]
    if versions:
        return f"it is a folder of versions; did you mean {path / versions[-1]}?"
    if not names:
        return "the folder is empty"
    if any(name.endswith(".ckpt.index") or name == "checkpoint" or name.endswith(".index") for name in names):
        return "it is a checkpoint, which has weights but no graph"
    for suffix, word in ((".tflite", "a TFLite file"), (".keras", "a Keras file"), (".h5", "a Keras HDF5 file")):
        if any(name.endswith(suffix) for name in names):
            return f"it is a folder with {word}"
    shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
    return f"the folder has no {SAVED_MODEL} (it has {shown})"


def _shards(path: Path) -> list[Path]:
    folder = path / "variables"
    return sorted(f for f in folder.iterdir() if _SHARD.match(f.name)) if folder.is_dir() else []


def _missing_variables(path: Path, shards: list[Path]) -> str:
    if not (path / "variables" / "variables.index").is_file():
        return "variables/variables.index is missing"
    of = {match.group(2) for shard in shards if (match := _SHARD.match(shard.name))}
    if len(of) > 1:
        return "shards of two different checkpoints are mixed"
    expected = int(next(iter(of))) if of else 0
    if len(shards) < expected or not shards:
        return f"{len(shards)} of {expected or 1} variables shards are there"
    return ""


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

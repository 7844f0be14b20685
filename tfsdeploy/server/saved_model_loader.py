"""Load a SavedModel into a session as TensorFlow's C++ loader does: in its order, and with its words.

Python's own loader wraps what the runtime says, wants variables where there are none, and words missing and broken
files otherwise (cc/saved_model/loader.cc, reader.cc; servables/tensorflow/saved_model_bundle_factory.cc).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2

from tfsdeploy.protocol.status import Failed, code_of
from tfsdeploy.server import text_file
from tfsdeploy.server.beside import beside_requests
from tfsdeploy.server.flags import say
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.pace import TEXT_BYTES

INIT_OP = "__saved_model_init_op"
_MAIN_OPS = ("saved_model_main_op", "legacy_init_op")

_PLACE = re.compile(r"/(?:job|replica|task):[^/]*")

_NO_MODEL = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file called `saved_model.pb`)\n"
    "Specified file path: {}"
)
_NO_GRAPH = (
    "Could not find meta graph def matching supplied tags: {{ {} }}. To inspect available tag-sets in the SavedModel, "
    "please use the SavedModel CLI: `saved_model_cli`"
)


def load(path: str, tags: Sequence[str], config: Any, metrics: Metrics) -> tuple[Any, Any]:
    """Read, restore and initialize a model.

    Args:
        path: the version's folder.
        tags: those of the graph, all of them.
        config: the session's ConfigProto.
        metrics: told how long it took.

    Returns:
        The session and the MetaGraphDef.

    Raises:
        Failed: in TensorFlow's words.
    """
    begun = time.perf_counter()
    stages: tuple[float, float] | None = None
    try:
        meta = beside_requests(partial(_meta_graph, path, tags, metrics))
        # Here, as its threads are those of requests.
        session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            stages = beside_requests(partial(_filled, session, path, meta, metrics))
        except tf.errors.OpError as error:
            session.close()
            raise Failed(code_of(error.error_code), error.message) from error
        except Failed:
            session.close()
            raise
    finally:
        metrics.loaded(path, time.perf_counter() - begun, stages)
    return session, meta


def _filled(session: Any, path: str, meta: Any, metrics: Metrics) -> tuple[float, float]:
    """Make the session what the model is; the seconds that its variables took, and its initialization."""
    _import(session.graph, meta)
    assets = _assets(path, meta)
    begun = time.perf_counter()
    _restore(session, path, meta.saver_def, assets, metrics)
    restored = time.perf_counter()
    _initialize(session, meta, assets, metrics)
    return restored - begun, time.perf_counter() - restored


def _meta_graph(path: str, tags: Sequence[str], metrics: Metrics) -> Any:
    graphs = read(path).meta_graphs
    metrics.read("2" if len(graphs) == 1 and graphs[0].HasField("object_graph_def") else "1")
    for meta in graphs:
        if set(meta.meta_info_def.tags) == set(tags):
            return meta
    raise Failed("NOT_FOUND", _NO_GRAPH.format(" ".join(tags)))


def read(path: str) -> Any:
    """A folder's SavedModel message.

    Raises:
        Failed: there is none, or it cannot be read.
    """
    binary, text = Path(path, "saved_model.pb"), Path(path, "saved_model.pbtxt")
    model = saved_model_pb2.SavedModel()
    if (content := _content(binary)) is not None:
        try:
            model.ParseFromString(content)
        except DecodeError as error:
            # Its stream has come to the end by then, and says so.
            raise Failed("OUT_OF_RANGE", "Read less bytes than requested") from error
        return model
    if (content := _content(text)) is not None:
        try:
            return text_format.Parse(content.decode(), model)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise Failed("DATA_LOSS", f"Can't parse {text} as text proto") from error
    if Path(path, "export.meta").exists():
        raise Failed("UNIMPLEMENTED", "Session Bundle is deprecated and removed.")
    raise Failed("NOT_FOUND", _NO_MODEL.format(path))


def _content(file: Path) -> bytes | None:
    """What is in a file; None: there is none."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise text_file.failed(str(file), error) from error


def _import(graph: Any, meta: Any) -> None:
    for nodes in (meta.graph_def.node, *(function.node_def for function in meta.graph_def.library.function)):
        for node in nodes:
            # Of a parameter server or a worker that there was at the time, the kind of device is left.
            if "/job:" in node.device:
                node.device = _PLACE.sub("", node.device)
    with graph.as_default():
        try:
            tf.import_graph_def(meta.graph_def, name="")
        except ValueError as error:
            raise Failed("INVALID_ARGUMENT", str(error)) from error


def _assets(path: str, meta: Any) -> Mapping[str, str]:
    """Name of the tensor that takes an asset's path -> that path."""
    files = list(meta.asset_file_def)
    if not files and "saved_model_assets" in meta.collection_def:
        # As TensorFlow 1 kept them.
        for packed in meta.collection_def["saved_model_assets"].any_list.value:
            file = meta_graph_pb2.AssetFileDef()
            packed.Unpack(file)
            files.append(file)
    return {file.tensor_info.name: str(Path(path, "assets", file.filename)) for file in files}


def _restore(session: Any, path: str, saver: Any, assets: Mapping[str, str], metrics: Metrics) -> None:
    variables = str(Path(path, "variables", "variables"))
    if not saver.restore_op_name:
        return
    if not Path(f"{variables}.index").exists():
        say(
            "The specified SavedModel has no variables; no checkpoints were restored. "
            f"File does not exist: {variables}.index",
            "WARNING",
        )
        return
    _run(session, saver.restore_op_name, {saver.filename_tensor_name: variables, **assets}, metrics)


def _initialize(session: Any, meta: Any, assets: Mapping[str, str], metrics: Metrics) -> None:
    if INIT_OP in meta.signature_def:
        operation = meta.signature_def[INIT_OP].outputs[INIT_OP].name
    else:
        found = [meta.collection_def[key].node_list.value for key in _MAIN_OPS if key in meta.collection_def]
        if not found:
            return
        if len(found[0]) != 1:
            raise Failed("FAILED_PRECONDITION", "Expected exactly one main op in SavedModel")
        operation = found[0][0]
    if operation:
        _run(session, operation, assets, metrics)


def _run(session: Any, operation: str, feeds: Mapping[str, str], metrics: Metrics) -> None:
    # Not `run`: that one rewrites what the runtime says.
    options = config_pb2.CallableOptions(feed=list(feeds), target=[operation.partition(":")[0]])
    with metrics.build():
        run = session._make_callable_from_options(options)
    with metrics.run(fed=TEXT_BYTES * len(feeds)):
        run(*feeds.values())

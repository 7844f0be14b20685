"""REST classify and regress: JSON objects to tf.Examples, and results to JSON (util/json_tensor.cc)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.examples import Result
from tfsdeploy.server.json_answer import float_texts
from tfsdeploy.server.json_document import quoted, shown
from tfsdeploy.server.json_tensor import decoded, is_base64, type_name

_INT64_MAX = 2**63 - 1


def examples_of(document: Mapping[str, Any]) -> list[bytes]:
    """The serialized examples of a request, each with the context that all share.

    Raises:
        Failed: INVALID_ARGUMENT.
    """
    shared = _example(document["context"]) if "context" in document else b""
    if "examples" not in document:
        # The original says classify for both methods.
        raise _wrong(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _wrong(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise _wrong(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    return [shared + _example(example) for example in examples]


def render(result: Result) -> str:
    """A classify or regress answer, laid out as the original lays it out."""
    if result.task.method == "regress":
        return '{\n    "results": [' + ", ".join(float_texts(np.array(result.regressions, np.float32))) + "]\n}"
    rows = (
        "[" + ", ".join(f"[{quoted(_text(label))}, {score}]" for label, score in _texts(classes)) + "]"
        for classes in result.classifications
    )
    return '{\n    "results": [' + ", ".join(rows) + "\n    ]\n}"


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise _wrong(f"Example must be JSON object but got JSON {type_name(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add(name, element, feature)
    return bytes(example.SerializeToString())


def _add(name: str, value: Any, feature: Any) -> None:
    kind = _kind(name, value)
    known = feature.WhichOneof("kind")
    if known not in (None, f"{kind}_list"):
        raise _wrong(f"Unexpected element type in feature: {name} expecting type: {known.removesuffix('_list')}")
    getattr(feature, f"{kind}_list").value.append(_converted(name, value))


def _kind(name: str, value: Any) -> str:
    """Which kind of feature a value belongs to."""
    if isinstance(value, float):
        return "float"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, str) or is_base64(value):
        return "bytes"
    raise _wrong(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _converted(name: str, value: Any) -> Any:
    """A value as its feature takes it."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="surrogateescape")
    if isinstance(value, dict):
        return decoded(value)
    if isinstance(value, float):
        return value
    if value > _INT64_MAX:
        raise _wrong(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return int(value)


def _text(label: Any) -> str:
    return label.decode("utf-8", errors="surrogateescape") if isinstance(label, bytes) else str(label)


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)


def _texts(classes: Sequence[tuple[bytes, np.float32]]) -> list[tuple[bytes, str]]:
    scores = float_texts(np.array([score for _, score in classes], np.float32))
    return [(label, text) for (label, _), text in zip(classes, scores, strict=True)]

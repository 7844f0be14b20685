"""Warm-up: the requests that a version brings along, answered before it is AVAILABLE (saved_model_warmup_util.cc)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from tfsdeploy.protocol.status import Failed, code_of
from tfsdeploy.server import examples, proto_tensor
from tfsdeploy.server.examples import Task
from tfsdeploy.server.grpc_predict import unknown_signature
from tfsdeploy.server.grpc_service import tasks_of
from tfsdeploy.server.rest import no_signature

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Servable

FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


def warm_up(model: Servable, path: str, iterations: int = 1) -> int | None:
    """Answer the requests in a version's folder, one after the other.

    Args:
        model: it is loaded.
        path: the version's folder.
        iterations: how often each is answered.

    Returns:
        How many requests there were; None without a file.

    Raises:
        Failed: one cannot be read or answered: then the version must not serve.
    """
    file = Path(path) / FILE
    if not file.is_file():
        return None
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(file)):
            log = _log_of(record, file)
            for _ in range(max(1, iterations)):
                _answer(model, log)
            count += 1
            if count > MAX_RECORDS:
                raise Failed(
                    "INVALID_ARGUMENT", f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
                )
    except tf.errors.DataLossError as error:
        raise Failed("DATA_LOSS", f"{error.message}. Please verify your warmup data is in TFRecord format.") from error
    except tf.errors.OpError as error:
        raise Failed(code_of(error.error_code), error.message) from error
    return count


def _log_of(record: bytes, file: Path) -> Any:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        shown = record.decode(errors="replace")
        raise Failed("INVALID_ARGUMENT", f"Failed to parse warmup record: {shown} from {file}") from error


def _answer(model: Servable, log: Any) -> None:
    """Answer one request; which model and version it names makes no difference."""
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    answer = _ANSWERS.get(kind)
    if answer is None:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise Failed("UNIMPLEMENTED", f"Unsupported log_type for warmup: {number}")
    answer(model, getattr(log, kind).request)


def _predict(model: Servable, request: Any) -> None:
    name = request.model_spec.signature_name or "serving_default"
    if name not in model.signatures:
        raise unknown_signature(name)
    call = model.call(name)
    model.run(call, proto_tensor.inputs_of(request.inputs, call))


def _classify(model: Servable, request: Any) -> None:
    _infer(model, [Task("classify", request.model_spec.signature_name or "serving_default")], request)


def _regress(model: Servable, request: Any) -> None:
    _infer(model, [Task("regress", request.model_spec.signature_name or "serving_default")], request)


def _multi_inference(model: Servable, request: Any) -> None:
    _infer(model, tasks_of(request.tasks), request)


def _infer(model: Servable, tasks: list[Task], request: Any) -> None:
    for task in tasks:
        if task.signature not in model.signatures:
            raise no_signature(task.signature)
        examples.check(model, task)
    given = examples.serialized(request.input)
    examples.results(tasks, examples.run(model, tasks, given), len(given))


_ANSWERS: Mapping[str, Callable[[Servable, Any], None]] = {
    "predict_log": _predict,
    "classify_log": _classify,
    "regress_log": _regress,
    "multi_inference_log": _multi_inference,
}

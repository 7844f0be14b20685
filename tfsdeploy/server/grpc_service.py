"""The gRPC skin: PredictionService, ModelService and the standard health service; messages in, messages out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tfsdeploy.protocol.status import Failed, grpc_number
from tfsdeploy.server.config import from_message
from tfsdeploy.server.core import Core
from tfsdeploy.server.grpc_front import Method as Answering
from tfsdeploy.server.loading import import_tensorflow, tensorflow_is_there
from tfsdeploy.server.metrics import Asked, Metrics
from tfsdeploy.server.pace import WouldWait
from tfsdeploy.server.rest import no_signature

if TYPE_CHECKING:
    from tfsdeploy.server.examples import Method, Result, Task
    from tfsdeploy.server.grpc_predict import Predict

PREDICTION = b"/tensorflow.serving.PredictionService/"
MODEL = b"/tensorflow.serving.ModelService/"
HEALTH = b"/grpc.health.v1.Health/"
HEALTHY_NAMES = ("", "PredictionService", "ModelService")  # short, as the original registers them
SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x03"  # HealthCheckResponse{status}, grpc/health/v1/health.proto

METHODS: Mapping[str, Method] = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
"""The methods of MultiInference's tasks."""


class Service:
    """Answers gRPC requests.

    Args:
        core: the models.
        metrics: counts them.
        health: have the standard health service, too; like the original's it says that the process answers, not more.
        packed: answer Predict with packed bytes instead of typed values.

    Attributes:
        methods: by path; each takes a message, and whether it may wait.
        watches: by path; each gives the beginning of an answer that goes on.
    """

    def __init__(self, core: Core, metrics: Metrics, *, health: bool = True, packed: bool = False) -> None:
        self._core = core
        self._packed = packed
        self._metrics = metrics
        self._predicting: Predict | None = None
        self.methods: dict[bytes, Answering] = {
            path: _with_tensorflow(method)
            for path, method in {
                PREDICTION + b"Predict": self._predict,
                PREDICTION + b"GetModelMetadata": self._metadata,
                PREDICTION + b"Classify": self._classify,
                PREDICTION + b"Regress": self._regress,
                PREDICTION + b"MultiInference": self._multi_inference,
                MODEL + b"GetModelStatus": self._status,
                MODEL + b"HandleReloadConfigRequest": self._reload,
            }.items()
        }
        self.watches: dict[bytes, Callable[[bytes], bytes]] = {}
        if health:
            self.methods[HEALTH + b"Check"] = _health
            self.watches[HEALTH + b"Watch"] = _watched

    def _predict(self, body: bytes, wait: bool) -> bytes:
        if self._predicting is None:
            from tfsdeploy.server.grpc_predict import Predict

            self._predicting = Predict(self._core, self._metrics, packed=self._packed)
        return self._predicting.answer(body, wait)

    def _classify(self, body: bytes, wait: bool) -> bytes:
        from tensorflow_serving.apis import classification_pb2 as messages

        request = messages.ClassificationRequest.FromString(body)
        response = messages.ClassificationResponse()
        return self._infer("classify", request, response, wait)

    def _regress(self, body: bytes, wait: bool) -> bytes:
        from tensorflow_serving.apis import regression_pb2 as messages

        request = messages.RegressionRequest.FromString(body)
        response = messages.RegressionResponse()
        return self._infer("regress", request, response, wait)

    def _infer(self, method: Method, request: Any, response: Any, wait: bool) -> bytes:
        from tfsdeploy.server import examples

        spec = request.model_spec
        with Asked(method.capitalize(), "GRPC", spec.name, metrics=self._metrics) as asked:
            version = version_of(self._core, request)
            task = examples.Task(method, spec.signature_name or "serving_default")
            found, (result,) = self._core.infer(
                spec.name,
                version,
                [task],
                lambda: examples.serialized(request.input),
                no_signature,
                wait=wait,
                asked=asked,
            )
        _fill_spec(response.model_spec, spec.name, found, task)
        _fill_result(response.result, result)
        return bytes(response.SerializeToString())

    def _multi_inference(self, body: bytes, wait: bool) -> bytes:
        from tensorflow_serving.apis import inference_pb2 as messages

        from tfsdeploy.server import examples

        request = messages.MultiInferenceRequest.FromString(body)
        first = request.tasks[0] if request.tasks else messages.InferenceTask(model_spec={})
        name = first.model_spec.name
        with Asked("MultiInference", "GRPC", name, metrics=self._metrics) as asked:
            # The version of the first counts for all.
            version = version_of(self._core, first)
            tasks = tasks_of(request.tasks)
            found, results = self._core.infer(
                name, version, tasks, lambda: examples.serialized(request.input), _not_in_graph, wait=wait, asked=asked
            )
        response = messages.MultiInferenceResponse()
        for result in results:
            one = response.results.add()
            _fill_spec(one.model_spec, name, found, result.task)
            classified = result.task.method == "classify"
            _fill_result(one.classification_result if classified else one.regression_result, result)
        return bytes(response.SerializeToString())

    def _metadata(self, body: bytes, wait: bool) -> bytes:
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest.FromString(body)
        if not request.metadata_field:
            raise Failed("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise Failed("INVALID_ARGUMENT", f"Metadata field {field} is not supported")
        version, signatures = self._core.signatures(request.model_spec.name, version_of(self._core, request))
        response = messages.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        definitions = messages.SignatureDefMap()
        for name, definition in signatures.items():
            definitions.signature_def[name].CopyFrom(definition)
        response.metadata["signature_def"].Pack(definitions)
        return bytes(response.SerializeToString())

    def _status(self, body: bytes, wait: bool) -> bytes:
        from tensorflow_serving.apis import get_model_status_pb2 as messages

        request = messages.GetModelStatusRequest.FromString(body)
        spec = spec_of(request)
        asked = spec.version.value if spec.HasField("version") else None
        response = messages.GetModelStatusResponse()
        for row in self._core.status(spec.name, asked):
            response.model_version_status.add(
                version=row.version,
                state=messages.ModelVersionStatus.State.Value(row.state),
                status={"error_code": grpc_number(row.code), "error_message": row.message},
            )
        return bytes(response.SerializeToString())

    def _reload(self, body: bytes, wait: bool) -> bytes:
        from tensorflow_serving.apis import model_management_pb2 as messages

        if not wait:
            raise WouldWait  # it lasts until the new models are there
        request = messages.ReloadConfigRequest.FromString(body)
        if request.config.WhichOneof("config") != "model_config_list":
            raise Failed(
                "INVALID_ARGUMENT",
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        before = {name: self._metrics.first(name) for name in request.metric_names}
        self._core.reload(self._core.judged(partial(from_message, request.config, self._core.served)))
        response = messages.ReloadConfigResponse(status={})
        # In the order in which the original's map gives them.
        for name, counted in reversed(before.items()):
            response.metric.add(name=name, int64_value_increase=self._metrics.first(name) - counted)
        return bytes(response.SerializeToString())


def version_of(core: Core, request: Any) -> int | None:
    """The version that a request's ModelSpec means; None: whichever is the highest.

    Raises:
        Failed: it has no ModelSpec, no name in it, or a label that is not known.
    """
    spec = spec_of(request)
    if not spec.name:
        raise Failed("INVALID_ARGUMENT", "ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    if choice is None:
        return None
    version = spec.version.value if choice == "version" else None
    return core.version_of(spec.name, version, spec.version_label if choice == "version_label" else None)


def spec_of(request: Any) -> Any:
    """A request's ModelSpec.

    Raises:
        Failed: INVALID_ARGUMENT: it has none.
    """
    if not request.HasField("model_spec"):
        raise Failed("INVALID_ARGUMENT", "Missing ModelSpec")
    return request.model_spec


def _with_tensorflow(method: Answering) -> Answering:
    """A method whose messages are TensorFlow's own."""

    def answer(body: bytes, wait: bool) -> bytes:
        if not wait and not tensorflow_is_there():
            raise WouldWait
        import_tensorflow()
        return method(body, wait)

    return answer


def _health(body: bytes, wait: bool) -> bytes:
    name = body[2:].decode(errors="replace")  # HealthCheckRequest{service}: one field, shorter than 128 bytes
    if name not in HEALTHY_NAMES:
        raise Failed("NOT_FOUND", "service name unknown")
    return SERVING


def _watched(body: bytes) -> bytes:
    try:
        return _health(body, True)
    except Failed:
        return SERVICE_UNKNOWN  # as the health protocol asks: it may come yet


def tasks_of(asked: Any) -> list[Task]:
    """The tasks of a MultiInferenceRequest (multi_inference.cc).

    Raises:
        Failed: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    from tfsdeploy.server.examples import Task

    tasks: list[Task] = []
    for one in asked:
        spec = one.model_spec
        if not spec.name:
            raise Failed("INVALID_ARGUMENT", "Found ModelSpec with an empty model name.")
        if spec.name != asked[0].model_spec.name:
            raise Failed(
                "INVALID_ARGUMENT", "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        signature = spec.signature_name or "serving_default"
        if any(task.signature == signature for task in tasks):
            raise Failed("INVALID_ARGUMENT", f"Duplicate evaluation of signature: {signature}")
        if one.method_name not in METHODS:
            raise Failed("UNIMPLEMENTED", f"Unsupported signature method_name: {one.method_name}")
        tasks.append(Task(METHODS[one.method_name], signature))
    return tasks


def _fill_spec(spec: Any, name: str, version: int, task: Task) -> None:
    spec.name = name
    spec.version.value = version
    spec.signature_name = task.signature


def _fill_result(message: Any, result: Result) -> None:
    message.SetInParent()
    for classes in result.classifications:
        one = message.classifications.add()
        for label, score in classes:
            one.classes.add(label=label.decode("utf-8", errors="replace"), score=score)
    for value in result.regressions:
        message.regressions.add(value=value)


def _not_in_graph(name: str) -> Failed:
    return Failed("INVALID_ARGUMENT", f"Requested signature not found in model graph: {name}")

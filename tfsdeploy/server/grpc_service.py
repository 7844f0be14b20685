"""The gRPC skin: PredictionService, ModelService and the standard health service over raw bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from tfsdeploy.protocol.model_config import ModelConfig
from tfsdeploy.protocol.status import Failed, grpc_message, grpc_number
from tfsdeploy.server.config import from_message
from tfsdeploy.server.core import Array, Core
from tfsdeploy.server.flags import say
from tfsdeploy.server.loading import import_tensorflow
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.rest import no_signature

if TYPE_CHECKING:
    from tfsdeploy.server.examples import Method, Result, Task
    from tfsdeploy.server.servable import Call

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
HEALTH = "/grpc.health.v1.Health/"
HEALTHY_NAMES = ("", "PredictionService", "ModelService")  # short, as the original registers them
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}, grpc/health/v1/health.proto

METHODS: Mapping[str, Method] = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
"""The methods of MultiInference's tasks."""

UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Service(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a generic in its stubs only
    """Answers gRPC requests.

    Args:
        core: the models.
        metrics: counts them.
        health: have the standard health service, too; like the original's it says that the process answers, not more.
        packed: answer Predict with packed bytes instead of typed values.
    """

    def __init__(self, core: Core, metrics: Metrics, *, health: bool = True, packed: bool = False) -> None:
        self._core = core
        self._packed = packed
        self._metrics = metrics
        methods: dict[str, Callable[[bytes], bytes]] = {
            PREDICTION + "Predict": self._predict,
            PREDICTION + "GetModelMetadata": self._metadata,
            PREDICTION + "Classify": self._classify,
            PREDICTION + "Regress": self._regress,
            PREDICTION + "MultiInference": self._multi_inference,
            MODEL + "GetModelStatus": self._status,
            MODEL + "HandleReloadConfigRequest": self._reload,
        }
        methods = {path: _with_tensorflow(method) for path, method in methods.items()}
        if health:
            methods[HEALTH + "Check"] = _health
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(_answering(method)) for path, method in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; for one that is not there it says so without a word, as the original."""
        return self._handlers.get(handler_call_details.method, _UNKNOWN)

    def _predict(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import predict_pb2

        from tfsdeploy.server import proto_tensor

        request = predict_pb2.PredictRequest.FromString(body)
        spec = request.model_spec

        def inputs_of(call: Call) -> dict[str, Array]:
            arrays = proto_tensor.inputs_of(request.inputs, call)
            proto_tensor.filtered(list(request.output_filter), list(call.outputs))
            return arrays

        with self._counted(spec.name, "Predict") as versions:
            version = self._version_of(request)
            name = spec.signature_name or "serving_default"
            answer = self._core.predict(spec.name, version, name, inputs_of, unknown_signature)
            versions.append(answer.version)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = answer.version
        response.model_spec.signature_name = answer.signature
        for alias in list(request.output_filter) or answer.outputs:
            response.outputs[alias].CopyFrom(proto_tensor.tensor_of(answer.outputs[alias], packed=self._packed))
        return bytes(response.SerializeToString())

    def _classify(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import classification_pb2 as messages

        request = messages.ClassificationRequest.FromString(body)
        response = messages.ClassificationResponse()
        return self._infer("classify", request, response)

    def _regress(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import regression_pb2 as messages

        request = messages.RegressionRequest.FromString(body)
        response = messages.RegressionResponse()
        return self._infer("regress", request, response)

    def _infer(self, method: Method, request: Any, response: Any) -> bytes:
        from tfsdeploy.server import examples

        spec = request.model_spec
        with self._counted(spec.name, method.capitalize()) as versions:
            version = self._version_of(request)
            task = examples.Task(method, spec.signature_name or "serving_default")
            found, (result,) = self._core.infer(
                spec.name, version, [task], lambda: examples.serialized(request.input), no_signature
            )
            versions.append(found)
        _fill_spec(response.model_spec, spec.name, found, task)
        _fill_result(response.result, result)
        return bytes(response.SerializeToString())

    def _multi_inference(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import inference_pb2 as messages

        from tfsdeploy.server import examples

        request = messages.MultiInferenceRequest.FromString(body)
        first = request.tasks[0] if request.tasks else messages.InferenceTask(model_spec={})
        name = first.model_spec.name
        with self._counted(name, "MultiInference") as versions:
            # The version of the first counts for all.
            version = self._version_of(first)
            tasks = tasks_of(request.tasks)
            found, results = self._core.infer(
                name, version, tasks, lambda: examples.serialized(request.input), _not_in_graph
            )
            versions.append(found)
        response = messages.MultiInferenceResponse()
        for result in results:
            one = response.results.add()
            _fill_spec(one.model_spec, name, found, result.task)
            classified = result.task.method == "classify"
            _fill_result(one.classification_result if classified else one.regression_result, result)
        return bytes(response.SerializeToString())

    @contextmanager
    def _counted(self, model_name: str, method: str) -> Iterator[list[int]]:
        """Count a request, and how it ended; who answers it adds the version that did."""
        begun, code = time.perf_counter(), "OK"
        versions: list[int] = []
        try:
            yield versions
        except Failed as failed:
            code = failed.code
            raise
        finally:
            self._metrics.count(
                model_name, method, "GRPC", code, time.perf_counter() - begun, next(iter(versions), None)
            )

    def _metadata(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest.FromString(body)
        if not request.metadata_field:
            raise Failed("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise Failed("INVALID_ARGUMENT", f"Metadata field {field} is not supported")
        version, signatures = self._core.signatures(request.model_spec.name, self._version_of(request))
        response = messages.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        definitions = messages.SignatureDefMap()
        for name, definition in signatures.items():
            definitions.signature_def[name].CopyFrom(definition)
        response.metadata["signature_def"].Pack(definitions)
        return bytes(response.SerializeToString())

    def _status(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import get_model_status_pb2 as messages

        request = messages.GetModelStatusRequest.FromString(body)
        spec = _spec_of(request)
        asked = spec.version.value if spec.HasField("version") else None
        response = messages.GetModelStatusResponse()
        for row in self._core.status(spec.name, asked):
            response.model_version_status.add(
                version=row.version,
                state=messages.ModelVersionStatus.State.Value(row.state),
                status={"error_code": grpc_number(row.code), "error_message": row.message},
            )
        return bytes(response.SerializeToString())

    def _reload(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import model_management_pb2 as messages

        request = messages.ReloadConfigRequest.FromString(body)
        if request.config.WhichOneof("config") != "model_config_list":
            raise Failed(
                "INVALID_ARGUMENT",
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        models: tuple[ModelConfig, ...] = from_message(request.config)
        self._core.reload(models)
        response = messages.ReloadConfigResponse(status={})
        for name in request.metric_names:
            # Asked for by name and counted from zero; none of these counters is kept here.
            response.metric.add(name=name, int64_value_increase=0)
        return bytes(response.SerializeToString())

    def _version_of(self, request: Any) -> int | None:
        spec = _spec_of(request)
        if not spec.name:
            raise Failed("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        version = spec.version.value if choice == "version" else None
        return self._core.version_of(spec.name, version, spec.version_label if choice == "version_label" else None)


def listen(
    service: Service,
    addresses: Sequence[str],
    threads: int,
    *,
    credentials: grpc.ServerCredentials | None = None,
    arguments: Sequence[tuple[str, int | str]] = (),
) -> grpc.Server:
    """Start a server.

    Args:
        service: answers.
        addresses: ``host:port`` or ``unix:path``, all of them.
        threads: that answer at the same time.
        credentials: for TLS; None for plain connections.
        arguments: of the channels, beside and above this server's own.

    Raises:
        RuntimeError: an address cannot be bound, or the credentials are none.
    """
    options = list({**dict(UNLIMITED), **dict(arguments)}.items())
    server = grpc.server(ThreadPoolExecutor(threads, thread_name_prefix="grpc"), handlers=[service], options=options)
    for address in addresses:
        bound = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
        # Of a UNIX socket gRPC tells 1.
        if bound == 0:
            raise RuntimeError(f"{address} cannot be bound")
    server.start()
    return server


def _spec_of(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise Failed("INVALID_ARGUMENT", "Missing ModelSpec")
    return request.model_spec


def _with_tensorflow(method: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A method whose messages are TensorFlow's own."""

    def answer(body: bytes) -> bytes:
        import_tensorflow()
        return method(body)

    return answer


def _answering(method: Callable[[bytes], bytes]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    from google.protobuf.message import DecodeError

    def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
        left = context.time_remaining()
        if left is not None and left <= 0:
            # Nobody waits for it any more; the model has better things to do.
            return _abort(context, "DEADLINE_EXCEEDED", "Deadline Exceeded")
        try:
            return method(body)
        except Failed as failed:
            return _abort(context, failed.code, failed.message)
        except DecodeError:
            return _abort(context, "INTERNAL", "")
        except Exception as error:  # an answer in any case; what it was is for this server's own log
            say(f"{type(error).__name__} while answering: {error}")
            return _abort(context, "INTERNAL", f"{type(error).__name__}: {error}")

    return answer


def _unknown(body: bytes) -> bytes:
    raise Failed("UNIMPLEMENTED", "")


def _abort(context: grpc.ServicerContext, code: str, message: str) -> bytes:
    context.set_code(_CODES[grpc_number(code)])
    context.set_details(grpc_message(message))
    return b""


_UNKNOWN = grpc.unary_unary_rpc_method_handler(_answering(_unknown))


def _health(body: bytes) -> bytes:
    name = body[2:].decode(errors="replace")  # HealthCheckRequest{service}: one field, shorter than 128 bytes
    if name not in HEALTHY_NAMES:
        raise Failed("NOT_FOUND", "service name unknown")
    return SERVING


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


def unknown_signature(name: str) -> Failed:
    """For Predict over gRPC."""
    return Failed("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')

"""The gRPC skin: PredictionService, ModelService and the standard health service over raw bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from tfsdeploy.protocol.model_config import ModelConfig
from tfsdeploy.protocol.status import Failed, grpc_message, grpc_number
from tfsdeploy.server.config import from_message
from tfsdeploy.server.core import Array, Core
from tfsdeploy.server.metrics import Metrics

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Call

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
HEALTH = "/grpc.health.v1.Health/"
HEALTHY_NAMES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}, grpc/health/v1/health.proto

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
    """

    def __init__(self, core: Core, metrics: Metrics) -> None:
        self._core = core
        self._metrics = metrics
        methods: Mapping[str, Callable[[bytes], bytes]] = {
            PREDICTION + "Predict": self._predict,
            PREDICTION + "GetModelMetadata": self._metadata,
            PREDICTION + "Classify": _not_there("Classify"),
            PREDICTION + "Regress": _not_there("Regress"),
            PREDICTION + "MultiInference": _not_there("MultiInference"),
            MODEL + "GetModelStatus": self._status,
            MODEL + "HandleReloadConfigRequest": self._reload,
            HEALTH + "Check": _health,
        }
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(_answering(method)) for path, method in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; None (UNIMPLEMENTED) for one that is not there."""
        return self._handlers.get(handler_call_details.method)

    def _predict(self, body: bytes) -> bytes:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest.FromString(body)
        spec = request.model_spec
        begun, code = time.perf_counter(), "OK"
        try:
            version = self._version_of(spec)
            name = spec.signature_name or "serving_default"
            answer = self._core.predict(
                spec.name, version, name, lambda call: _inputs_of(request.inputs, call), _unknown_signature
            )
            wanted = _wanted(list(request.output_filter), list(answer.outputs))
        except Failed as failed:
            code = failed.code
            raise
        finally:
            self._metrics.count(spec.name, "Predict", "GRPC", code, time.perf_counter() - begun)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = answer.version
        response.model_spec.signature_name = answer.signature
        for alias in wanted:
            tensor = tf.make_tensor_proto(answer.outputs[alias])
            response.outputs[alias].CopyFrom(_typed(tensor, answer.outputs[alias]))
        return bytes(response.SerializeToString())

    def _metadata(self, body: bytes) -> bytes:
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest.FromString(body)
        if not request.metadata_field:
            raise Failed("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise Failed("INVALID_ARGUMENT", f"Metadata field {field} is not supported")
        version, signatures = self._core.signatures(request.model_spec.name, self._version_of(request.model_spec))
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
        spec = request.model_spec
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
        return bytes(messages.ReloadConfigResponse(status={}).SerializeToString())

    def _version_of(self, spec: Any) -> int | None:
        if not spec.name:
            raise Failed("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        version = spec.version.value if choice == "version" else None
        return self._core.version_of(spec.name, version, spec.version_label if choice == "version_label" else None)


def listen(service: Service, address: str, port: int, threads: int) -> grpc.Server:
    """Start a server on a port.

    Raises:
        RuntimeError: the port cannot be bound.
    """
    server = grpc.server(ThreadPoolExecutor(threads, thread_name_prefix="grpc"), handlers=[service], options=UNLIMITED)
    if server.add_insecure_port(f"{address}:{port}") == 0:
        raise RuntimeError(f"port {port} is taken")
    server.start()
    return server


def _answering(method: Callable[[bytes], bytes]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    from google.protobuf.message import DecodeError

    def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return method(body)
        except Failed as failed:
            return _abort(context, failed.code, failed.message)
        except DecodeError as error:
            return _abort(context, "INVALID_ARGUMENT", f"the request cannot be parsed: {error}")

    return answer


def _abort(context: grpc.ServicerContext, code: str, message: str) -> bytes:
    context.set_code(_CODES[grpc_number(code)])
    context.set_details(grpc_message(message))
    return b""


def _not_there(method: str) -> Callable[[bytes], bytes]:
    def refuse(body: bytes) -> bytes:
        raise Failed("UNIMPLEMENTED", f"{method} is not there yet in this server; Predict is")

    return refuse


def _health(body: bytes) -> bytes:
    name = body[2:].decode(errors="replace")  # HealthCheckRequest{service}: one field, shorter than 128 bytes
    if name not in HEALTHY_NAMES:
        raise Failed("NOT_FOUND", "unknown service")
    return SERVING


def _unknown_signature(name: str) -> Failed:
    return Failed("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')


def _inputs_of(tensors: Mapping[str, Any], call: Call) -> dict[str, Array]:
    import tensorflow as tf

    wanted, sent = {i.alias for i in call.inputs}, set(tensors)
    if len(wanted) != len(sent):
        raise Failed(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{','.join(sorted(sent))}}}) != "
            f"len({{{','.join(sorted(wanted))}}}). Sent extra: {{{','.join(sorted(sent - wanted))}}}. "
            f"Missing but required: {{{','.join(sorted(wanted - sent))}}}.",
        )
    arrays = {}
    for given in call.inputs:
        if given.alias not in tensors:
            raise Failed(
                "INVALID_ARGUMENT",
                f"Signature input alias: {given.alias} not found in request and no default value provided. Inputs "
                f"expected to be in the request {{{','.join(sorted(sent))}}}, or default input alias set: ",
            )
        try:
            array = tf.make_ndarray(tensors[given.alias])
        except (TypeError, ValueError) as error:
            raise Failed("INVALID_ARGUMENT", f"tensor parsing error: {given.alias}") from error
        if array.dtype != given.dtype:
            expected, found = (tf.as_dtype(d).name.removesuffix("32") for d in (given.dtype, array.dtype))
            words = {"float64": "double", "object": "string"}
            expected, found = words.get(expected, expected), words.get(found, found)
            raise Failed("INVALID_ARGUMENT", f"Expects arg[0] to be {expected} but {found} is provided")
        arrays[given.alias] = array
    return arrays


def _wanted(asked: list[str], there: list[str]) -> list[str]:
    for alias in asked:
        if alias not in there:
            raise Failed(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{','.join(sorted(there))}}}.",
            )
        if asked.count(alias) > 1:
            raise Failed("INVALID_ARGUMENT", f"duplicate output tensor alias: {alias}")
    return asked or there


def _typed(tensor: Any, array: Array) -> Any:
    """Typed value fields instead of tensor content, as the original answers by default."""
    fields = {"float32": "float_val", "float64": "double_val", "int64": "int64_val", "bool": "bool_val",
              "uint32": "uint32_val", "uint64": "uint64_val", "int32": "int_val", "int16": "int_val",
              "int8": "int_val", "uint8": "int_val", "uint16": "int_val"}  # fmt: skip
    field = fields.get(array.dtype.name)
    if field is not None and tensor.tensor_content:
        tensor.ClearField("tensor_content")
        getattr(tensor, field).extend(array.ravel().tolist())
    return tensor

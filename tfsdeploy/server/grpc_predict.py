"""Predict over gRPC, which is what most requests are: a message to arrays, a run, and arrays to a message."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis import model_pb2, predict_pb2

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import proto_tensor
from tfsdeploy.server.core import Answer, Array, Core
from tfsdeploy.server.grpc_service import version_of
from tfsdeploy.server.metrics import Asked, Metrics
from tfsdeploy.server.proto_tensor import begin, part

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Call


class Predict:
    """Answers Predict.

    Args:
        core: the models.
        metrics: counts requests.
        packed: answer with packed bytes instead of typed values.
    """

    def __init__(self, core: Core, metrics: Metrics, *, packed: bool) -> None:
        self._core = core
        self._metrics = metrics
        self._packed = packed

    def answer(self, body: bytes, wait: bool) -> bytes:
        """A PredictResponse to a PredictRequest, both serialized.

        Raises:
            Failed: in the words of TF Serving or TensorFlow.
            WouldWait: it is not quick, and ``wait`` is not set.
        """
        asked = Asked("Predict", "GRPC", metrics=self._metrics)
        request = predict_pb2.PredictRequest.FromString(body)
        asked.model = request.model_spec.name
        with asked:
            answer = self._run(request, wait, asked)
        parts: list[bytes | memoryview] = []
        for alias in request.output_filter or answer.outputs:
            # A map is one part for each entry (apis/predict.proto).
            tensor = proto_tensor.encoded(answer.outputs[alias], packed=self._packed)
            size = sum(map(len, tensor))
            entry = part(1, alias.encode()) + begin(2, size)
            parts += (begin(1, len(entry) + size), entry, *tensor)
        parts.append(part(2, _spec(request.model_spec.name, answer.version, answer.signature)))
        return b"".join(parts)

    def _run(self, request: Any, wait: bool, asked: Asked) -> Answer:
        def inputs_of(call: Call) -> Mapping[str, Array]:
            arrays = proto_tensor.inputs_of(request.inputs, call, wait=wait)
            if request.output_filter:
                proto_tensor.filtered(list(request.output_filter), list(call.outputs))
            return arrays

        version = version_of(self._core, request)
        spec = request.model_spec
        signature = spec.signature_name or "serving_default"
        return self._core.predict(spec.name, version, signature, inputs_of, unknown_signature, wait=wait, asked=asked)


def unknown_signature(name: str) -> Failed:
    """For Predict over gRPC."""
    return Failed("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')


@lru_cache(maxsize=256)
def _spec(name: str, version: int, signature: str) -> bytes:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    spec.version.value = version
    return bytes(spec.SerializeToString())

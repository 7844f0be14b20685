"""The few fields of TF Serving's requests that the gateway reads, as the descriptor set that Envoy wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

_REQUEST_OF = {
    "PredictionService": {
        "Predict": "ModelRequest",
        "Classify": "ModelRequest",
        "Regress": "ModelRequest",
        "GetModelMetadata": "ModelRequest",
        "MultiInference": "TasksRequest",
    },
    "ModelService": {"GetModelStatus": "ModelRequest"},
}


def descriptor_set() -> bytes:
    """A serialised FileDescriptorSet; field numbers are those of TF Serving's ``apis/*.proto``.

    One message stands for every request whose field 1 is ``model_spec``: unknown fields are skipped while reading.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    return FileDescriptorSet(file=[_file()]).SerializeToString(deterministic=True)


def _file() -> FileDescriptorProto:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

    file = FileDescriptorProto(name="tfsdeploy/gateway_view.proto", package="tensorflow.serving", syntax="proto3")

    wrapper = file.message_type.add(name="Int64")  # google.protobuf.Int64Value on the wire
    wrapper.field.add(name="value", number=1, type=FieldDescriptorProto.TYPE_INT64)

    spec = file.message_type.add(name="ModelSpec")
    spec.oneof_decl.add(name="version_choice")
    spec.field.add(name="name", number=1, type=FieldDescriptorProto.TYPE_STRING)
    _add_message(spec, "version", 2, "Int64").oneof_index = 0
    spec.field.add(name="version_label", number=4, type=FieldDescriptorProto.TYPE_STRING, oneof_index=0)

    _add_message(file.message_type.add(name="ModelRequest"), "model_spec", 1, "ModelSpec")
    _add_message(file.message_type.add(name="InferenceTask"), "model_spec", 1, "ModelSpec")
    tasks = _add_message(file.message_type.add(name="TasksRequest"), "tasks", 1, "InferenceTask")
    tasks.label = FieldDescriptorProto.LABEL_REPEATED
    file.message_type.add(name="Answer")

    for service_name, methods in _REQUEST_OF.items():
        service = file.service.add(name=service_name)
        for method, request in methods.items():
            service.method.add(
                name=method, input_type=f".tensorflow.serving.{request}", output_type=".tensorflow.serving.Answer"
            )
    return file


def _add_message(message: DescriptorProto, name: str, number: int, kind: str) -> FieldDescriptorProto:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    return message.field.add(
        name=name, number=number, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=f".tensorflow.serving.{kind}"
    )

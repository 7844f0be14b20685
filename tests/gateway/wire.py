"""TF Serving's requests, as far as the gateway reads them; field numbers are those of its `apis/*.proto`."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "tests.gateway"


def _add(message: DescriptorProto, name: str, number: int, kind: str) -> FieldDescriptorProto:
    return message.field.add(
        name=name, number=number, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=f".{PACKAGE}.{kind}"
    )


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="tests/gateway.proto", package=PACKAGE, syntax="proto3")
    file.message_type.add(name="Int64").field.add(name="value", number=1, type=FieldDescriptorProto.TYPE_INT64)
    spec = file.message_type.add(name="ModelSpec")
    spec.oneof_decl.add(name="version_choice")
    spec.field.add(name="name", number=1, type=FieldDescriptorProto.TYPE_STRING)
    _add(spec, "version", 2, "Int64").oneof_index = 0
    spec.field.add(name="version_label", number=4, type=FieldDescriptorProto.TYPE_STRING, oneof_index=0)
    _add(file.message_type.add(name="ModelRequest"), "model_spec", 1, "ModelSpec")
    _add(file.message_type.add(name="InferenceTask"), "model_spec", 1, "ModelSpec")
    tasks = _add(file.message_type.add(name="TasksRequest"), "tasks", 1, "InferenceTask")
    tasks.label = FieldDescriptorProto.LABEL_REPEATED
    return file


_pool = DescriptorPool()
_pool.Add(_file())


def _class(name: str) -> Any:
    return GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


ModelSpec = _class("ModelSpec")
ModelRequest = _class("ModelRequest")
InferenceTask = _class("InferenceTask")
TasksRequest = _class("TasksRequest")


def spec(name: str, version: int | None = None, label: str | None = None) -> Any:
    """A ModelSpec."""
    made = ModelSpec(name=name)
    if version is not None:
        made.version.value = version
    if label is not None:
        made.version_label = label
    return made


def request(name: str, version: int | None = None, label: str | None = None, padding: int = 0) -> bytes:
    """A request whose field 1 is model_spec, with ``padding`` bytes of another field (2) behind it."""
    return ModelRequest(model_spec=spec(name, version, label)).SerializeToString() + filler(padding)


def tasks(*specs: Any) -> bytes:
    """A MultiInferenceRequest."""
    return TasksRequest(tasks=[InferenceTask(model_spec=one) for one in specs]).SerializeToString()


def filler(size: int) -> bytes:
    """Field 2 with ``size`` bytes; nothing for 0."""
    if not size:
        return b""
    length, rest = bytearray(), size
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    length.append(rest)
    return b"\x12" + bytes(length) + b"x" * size

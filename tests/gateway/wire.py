"""TF Serving's requests, as far as the gateway reads them, built from the very descriptors that Envoy gets."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tfsdeploy.gateway.view import descriptor_set

_pool = DescriptorPool()
for _file in FileDescriptorSet.FromString(descriptor_set()).file:
    _pool.Add(_file)

ModelSpec: Any = GetMessageClass(_pool.FindMessageTypeByName("tensorflow.serving.ModelSpec"))
ModelRequest: Any = GetMessageClass(_pool.FindMessageTypeByName("tensorflow.serving.ModelRequest"))
InferenceTask: Any = GetMessageClass(_pool.FindMessageTypeByName("tensorflow.serving.InferenceTask"))
TasksRequest: Any = GetMessageClass(_pool.FindMessageTypeByName("tensorflow.serving.TasksRequest"))


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

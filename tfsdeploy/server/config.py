"""The model configuration: protobuf text in, the original's checks and words, plain values out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tfsdeploy.protocol.model_config import All, Latest, ModelConfig, Policy, Specific
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import text_file
from tfsdeploy.server.flags import Flags, say

TENSORFLOW = 1  # ModelType

_ABSOLUTE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*://")


class NoPlatform(Failed):
    """A model's platform is not told, or cannot be known."""

    def __init__(self, message: str) -> None:
        super().__init__("INVALID_ARGUMENT", message)


def read(file: str, *, first: bool = False, served: Collection[str] = ()) -> tuple[ModelConfig, ...]:
    """The models of a configuration file.

    Args:
        file: its path.
        served: the models of the configuration in force.
        first: at start-up a file without any list is no mistake; later it is none that one can go to.

    Raises:
        Failed: it cannot be read or parsed, or is not valid.
    """
    # The generated module of the configuration alone: it does not import TensorFlow.
    from tensorflow_serving.config import model_server_config_pb2

    message = text_file.parse(file, model_server_config_pb2.ModelServerConfig())
    if message.WhichOneof("config") != "model_config_list":
        if not first:
            raise Failed(
                "FAILED_PRECONDITION",
                "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to "
                "another.",
            )
        if message.HasField("custom_model_config"):
            raise _wrong("ModelServer does not yet support custom model config.")
        say("Taking no action for empty config.")
    return from_message(message, served)


def from_message(message: Any, served: Collection[str] = ()) -> tuple[ModelConfig, ...]:
    """The models of a ModelServerConfig (model_servers/server_core.cc, ReloadConfig and its checks).

    Args:
        message: the configuration.
        served: the models of the one in force: their platform stays.

    Raises:
        Failed: INVALID_ARGUMENT; nothing of it may be applied then.
    """
    return _checked(tuple(_model(entry, served) for entry in message.model_config_list.config))


def single(flags: Flags) -> tuple[ModelConfig, ...]:
    """The one model of ``--model_name`` and ``--model_base_path``.

    Raises:
        Failed: the path is not absolute.
    """
    return _checked((ModelConfig(flags.model_name, flags.model_base_path),))


def check_labels(
    models: Iterable[ModelConfig],
    available: Mapping[str, set[int]],
    present: Mapping[str, Mapping[str, int]],
    *,
    new_anywhere: bool,
) -> dict[str, dict[str, int]]:
    """The label map that a configuration asks for (server_core.cc, UpdateModelVersionLabelMap).

    Args:
        models: the configuration.
        available: versions that are AVAILABLE, by model.
        present: the map that is in force.
        new_anywhere: ``--allow_version_labels_for_unavailable_models``: a label that is new, or stays where it is, may
            name a version that is not available; one that moves may not.

    Raises:
        Failed: FAILED_PRECONDITION; the map as a whole is refused.
    """
    for model in models:
        for label, version in model.labels.items():
            moves = present.get(model.name, {}).get(label, version) != version
            if version not in available.get(model.name, set()) and (moves or not new_anywhere):
                raise Failed(
                    "FAILED_PRECONDITION",
                    f"Request to assign label to version {version} of model {model.name}, "
                    "which is not currently available for inference",
                )
    return {model.name: dict(model.labels) for model in models if model.labels}


def _checked(models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise _wrong(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
        if not _ABSOLUTE.match(model.base_path):
            raise _wrong(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
    return models


def _model(entry: Any, served: Collection[str]) -> ModelConfig:
    if not entry.model_platform and not entry.model_type:
        raise NoPlatform(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if entry.model_platform and entry.model_type:
        raise NoPlatform(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if entry.model_type > TENSORFLOW:
        raise NoPlatform(f"ModelServerConfig::model_type choice {entry.model_type} not supported.")
    if entry.model_platform not in ("", "tensorflow"):
        if entry.name in served:
            raise _wrong(
                f"Illegal to change a model's platform. For model {entry.name} platform was tensorflow and new "
                f"platform requested is {entry.model_platform}"
            )
        raise _wrong(f"Model {entry.name} requests unsupported platform {entry.model_platform}")
    if entry.HasField("logging_config"):
        raise _wrong("No request-logger-creator provided.")
    return ModelConfig(entry.name, entry.base_path, _policy(entry.model_version_policy), dict(entry.version_labels))


def _policy(message: Any) -> Policy:
    match message.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(tuple(message.specific.versions))
        case "latest":
            return Latest(message.latest.num_versions)
        case _:
            return Latest()


def _wrong(message: str) -> Failed:
    return Failed("INVALID_ARGUMENT", message)

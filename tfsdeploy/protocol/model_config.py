"""TF Serving's ModelServerConfig in protobuf text format: what agents write and servers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Latest:
    """The highest ``count`` version numbers on disk; 0 counts as 1."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class All:
    """Every version on disk."""


@dataclass(frozen=True, slots=True)
class Specific:
    """These versions, as far as they exist."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One entry of a ``model_config_list``."""

    name: str
    base_path: str
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)


def render(models: Sequence[ModelConfig]) -> str:
    """The configuration as text; an empty list unloads everything and is legal."""
    return "model_config_list {\n" + "".join(_entry(model) for model in models) + "}\n"


def _entry(model: ModelConfig) -> str:
    match model.policy:
        case Latest(count):
            policy = f"latest {{ num_versions: {count} }}"
        case All():
            policy = "all {}"
        case Specific(versions):
            policy = "specific { " + " ".join(f"versions: {version}" for version in versions) + " }"
    labels = "".join(
        f'    version_labels {{ key: "{_quoted(label)}" value: {version} }}\n'
        for label, version in sorted(model.labels.items())
    )
    return (
        f'  config {{\n    name: "{_quoted(model.name)}"\n    base_path: "{_quoted(model.base_path)}"\n'
        f'    model_platform: "tensorflow"\n    model_version_policy {{ {policy} }}\n{labels}  }}\n'
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

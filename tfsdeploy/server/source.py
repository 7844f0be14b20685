"""Which versions a model should have: its policy, applied to what is on disk (sources/storage_path)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfsdeploy.protocol.model_config import All, Latest, ModelConfig, Policy, Specific
from tfsdeploy.protocol.rest import MAX_INT64

# absl::SimpleAtoi: blanks and a plus sign are fine. Negative numbers, too, but no version has one.
_INT64 = re.compile(r"[ \t]*\+?[0-9]{1,19}[ \t]*\Z")


class StorageAway(Exception):
    """A base path that is missing, cannot be listed or is none; nobody's versions change then."""


def scan(models: Iterable[ModelConfig]) -> dict[str, dict[int, str]]:
    """Model -> version -> path, of every model.

    Raises:
        StorageAway: a base path is not there; the original then leaves all models as they are.
    """
    return {model.name: versions_of(model) for model in models}


def versions_of(model: ModelConfig) -> dict[int, str]:
    """The versions that one model should have.

    Raises:
        StorageAway: its base path is not there.
    """
    base = Path(folder(model.base_path))
    try:
        names = os.listdir(base)
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageAway(
            f"Could not find base path {model.base_path} for servable {model.name} with error {reason}"
        ) from error
    # Sorted, so that of two names for one version the shorter spelling wins, as in the original.
    found = {int(name): str(base / name) for name in sorted(names) if _INT64.match(name)}
    return chosen(model.policy, {version: path for version, path in found.items() if version <= MAX_INT64})


def folder(base_path: str) -> str:
    """A base path without the scheme of local files; other schemes name no folder that is there."""
    return base_path.removeprefix("file://")


def may_miss(model: ModelConfig, there: Mapping[int, str]) -> bool:
    """Whether `kept` may have something to add."""
    return not there or (isinstance(model.policy, Specific) and not there.keys() >= set(model.policy.versions))


def kept(model: ModelConfig, there: dict[int, str], loaded: frozenset[int]) -> dict[int, str]:
    """``there``, and what is loaded and wanted although it is no longer found: storage that looks emptier than it was
    unloads nothing. Of versions that are asked for by number that is each; otherwise all, if there is none any more."""
    if isinstance(model.policy, Specific):
        missing = loaded & frozenset(model.policy.versions) - there.keys()
    else:
        missing = frozenset() if there else loaded
    return there | {version: str(Path(folder(model.base_path)) / str(version)) for version in missing}


def chosen(policy: Policy, there: Mapping[int, str]) -> dict[int, str]:
    """The versions that a policy picks from those that are there."""
    match policy:
        case Latest(count):
            return {version: there[version] for version in sorted(there)[-max(1, count) :]}
        case All():
            return dict(there)
        case Specific(versions):
            return {version: there[version] for version in versions if version in there}

"""What each generation changed, in words, from the history; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfsdeploy.release.history import Entry
from tfsdeploy.release.model import ModelRelease, Release


def change_log(release: Release | None, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The history as documents, newest first.

    Args:
        release: the present generation.
        entries: the history, newest first, starting with the present generation.
    """
    if release is None:
        return []
    after: dict[str, ModelRelease] = dict(release.models)
    rows = []
    for entry in entries:
        change = entry.change
        models = {name: differences(before, after.get(name)) for name, before in change.before.items()}
        rows.append(
            {
                "generation": entry.generation,
                "when": change.when,
                "who": change.who,
                "why": change.why or None,
                "command": change.command,
                "models": models,
            }
        )
        _undo(after, change.before)
    return rows


def differences(before: ModelRelease | None, after: ModelRelease | None) -> list[str]:
    """What changed between two states of a model, in words; empty if nothing that an operator sees."""
    if after is None:
        return ["removed"]
    if before is None:
        return [f"added with version {', '.join(map(str, after.versions))}"]
    pairs = [
        ("loaded", _versions(before.versions), _versions(after.versions)),
        ("traffic", _split(before.traffic), _split(after.traffic)),
        ("previous", _one(before.previous), _one(after.previous)),
        ("rejected", _versions(before.rejected), _versions(after.rejected)),
        ("labels", _labels(before.labels), _labels(after.labels)),
        ("rollout", _rollout(before), _rollout(after)),
    ]
    return [f"{what} {old} → {new}" for what, old, new in pairs if old != new]


def _undo(after: dict[str, ModelRelease], before: Mapping[str, ModelRelease | None]) -> None:
    for name, state in before.items():
        if state is None:
            after.pop(name, None)
        else:
            after[name] = state


def _versions(versions: Mapping[int, Any] | frozenset[int]) -> str:
    return ",".join(map(str, sorted(versions))) or "none"


def _split(split: Mapping[int, int]) -> str:
    return " ".join(f"{version}:{share}" for version, share in split.items()) or "none"


def _labels(labels: Mapping[str, int]) -> str:
    return " ".join(f"{label}={version}" for label, version in labels.items()) or "none"


def _one(version: int | None) -> str:
    return "none" if version is None else str(version)


def _rollout(model: ModelRelease) -> str:
    rollout = model.rollout
    return "none" if rollout is None else f"to {rollout.to} step {rollout.step}/{len(rollout.steps)}"

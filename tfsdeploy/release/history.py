"""History: one entry a generation, each with the models as they were before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfsdeploy.release.model import Change, InvalidRelease, Release, change_from_plain, change_to_plain


@dataclass(frozen=True, slots=True)
class Entry:
    """The change that made one generation of a fleet's life ``uid``."""

    uid: str
    generation: int
    change: Change


def present_entry(release: Release) -> Entry:
    """The entry that the present generation carries."""
    return Entry(release.uid, release.generation, release.change)


def needed_versions(release: Release, entries: Sequence[Entry]) -> dict[str, set[int]]:
    """The versions, by model, that the present generation or one kept in the history holds or can go back to."""
    needed: dict[str, set[int]] = {}
    states = [*release.models.items()]
    states += [
        (name, before) for entry in entries for name, before in entry.change.before.items() if before is not None
    ]
    for name, model in states:
        retired = model.rollout.retired if model.rollout else {}
        back = {v for v in (model.main, model.previous) if v is not None}
        needed.setdefault(name, set()).update(model.versions, retired, back)
    return needed


def entry_to_plain(entry: Entry) -> dict[str, Any]:
    """An entry as it is kept."""
    return {"uid": entry.uid, "generation": entry.generation, "change": change_to_plain(entry.change)}


def entry_from_plain(plain: Mapping[str, Any]) -> Entry:
    """The inverse of `entry_to_plain`.

    Raises:
        InvalidRelease: the entry is nonsense.
    """
    try:
        return Entry(str(plain["uid"]), int(plain["generation"]), change_from_plain(plain["change"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRelease(f"history entry: {type(error).__name__}: {error}") from error

"""What a model's versions should do next: decided from what they are, without threads or files."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Work = Literal["load", "unload"]


class State(StrEnum):
    """The states of a version, in the order in which they happen (apis/get_model_status.proto)."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is decided upon: one version, where it stands, and whether it should be there."""

    version: int
    state: State
    aspired: bool


@dataclass(frozen=True, slots=True)
class Action:
    """Load or unload one version."""

    what: Work
    version: int


def next_action(rows: Iterable[Snapshot]) -> Action | None:
    """What to do next for one model: core/availability_preserving_policy.cc.

    A version that is no longer aspired is unloaded, lowest first, when nothing is aspired, when an aspired one is
    ready, or when more than one such is ready; otherwise the highest new aspired one is loaded. So a version that
    cannot load never takes the old one away.
    """
    known = list(rows)
    leaving = sorted(row.version for row in known if row.state is State.AVAILABLE and not row.aspired)
    aspired = [row for row in known if row.aspired]
    ready = any(row.state is State.AVAILABLE for row in aspired)
    if leaving and (not aspired or ready or len(leaving) > 1):
        return Action("unload", leaving[0])
    new = [row.version for row in aspired if row.state is State.START]
    return Action("load", max(new)) if new else None


def postponed(rows: Iterable[Snapshot], wanted: Collection[int], *, like_tfs: bool) -> bool:
    """Whether a new list of versions has to wait, as a whole, until one of them is gone.

    Here that is a version in the middle of its unload. In the original it is every version that was un-aspired before
    and is still there (core/aspired_versions_manager.cc, ContainsAnyReaspiredVersions): one that nothing pushes out
    stays for ever, and so does the list before.
    """
    again = [row for row in rows if row.version in wanted and not row.aspired and row.state is not State.END]
    return bool(again) if like_tfs else any(row.state is State.UNLOADING for row in again)

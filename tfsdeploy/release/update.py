"""Change the release by compare-and-swap: read, decide, swap, and again if only others' models changed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from tfsdeploy.errors import Busy, UsageError
from tfsdeploy.release.conflict import Conflict
from tfsdeploy.release.model import Change, ModelRelease, Release

ATTEMPTS = 50


class ReleaseStore(Protocol):
    """Where a fleet's release document lives."""

    def read(self) -> Release | None:
        """The present generation; None before the first."""

    def swap(self, new: Release, expected: Release | None) -> None:
        """Write ``new`` if the document is still ``expected``, else raise `Conflict`."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and why: the part of a history entry that is the same for each of its generations."""

    who: str
    command: str
    why: str = ""

    def change(self) -> Change:
        """A history entry of this moment."""
        return Change(self.who, datetime.now(UTC).isoformat(timespec="milliseconds"), self.why, self.command)


def present(store: ReleaseStore) -> Release:
    """The present generation.

    Raises:
        UsageError: the fleet has none.
    """
    release = store.read()
    if release is None:
        raise UsageError("this fleet has no release yet", hint="run `tfsdeploy up` first")
    return release


def nothing(fleet: str) -> Release:
    """What comes before the first generation of a fleet's life."""
    return Release(fleet, uuid.uuid4().hex, 0, Change("", "", "", ""))


def introduce(store: ReleaseStore, fleet: str, name: str, author: Author) -> Release:
    """Add a model without versions, if the release has it not; the first one comes by a promote.

    Returns:
        The generation that stands afterwards: the fleet's first one, if there was none.
    """
    for _ in range(ATTEMPTS):
        release = store.read()
        if release is not None and name in release.models:
            return release
        new = (release or nothing(fleet)).next({name: ModelRelease({}, {})}, author.change())
        try:
            store.swap(new, release)
            return new
        except Conflict:
            continue
    raise Busy(f"model {name}: the release document changed {ATTEMPTS} times while it was added")


def change_model(
    store: ReleaseStore, name: str, transition: Callable[[ModelRelease], ModelRelease], author: Author
) -> Release:
    """Write one transition of one model.

    A swap that is lost because of other models is read again and tried again; one that is lost because somebody
    changed this model is not.

    Args:
        store: where the document lives.
        name: the model.
        transition: pure; may raise to refuse.
        author: who and why.

    Returns:
        The generation that stands afterwards; the present one if the transition changes nothing.

    Raises:
        UsageError: the fleet has no release, or no such model.
        Busy: this model was changed by somebody else meanwhile.
    """
    release = present(store)
    model = model_of(release, name)
    for _ in range(ATTEMPTS):
        after = transition(model)
        if after == model:
            return release
        new = release.next({name: after}, author.change())
        try:
            store.swap(new, release)
            return new
        except Conflict as conflict:
            release = present(store)
            if model_of(release, name) != model:
                who = release.change.who
                raise Busy(f"model {name} was changed meanwhile by {who}: {release.change.command}") from conflict
    raise Busy(f"model {name}: the release document changed {ATTEMPTS} times while this change was tried")


def change_models(
    store: ReleaseStore,
    decide: Callable[[Release], tuple[Mapping[str, ModelRelease | None], str | None]],
    author: Author,
) -> Release:
    """Write a change of several models at once; decided anew whenever the document changed meanwhile.

    Args:
        store: where the document lives.
        decide: the models that change (None removes one), and the pins hash that was folded or None; pure.
        author: who and why.
    """
    for _ in range(ATTEMPTS):
        release = present(store)
        models, pins = decide(release)
        if not models and pins in (None, release.pins):
            return release
        new = release.next(models, author.change(), pins=pins)
        try:
            store.swap(new, release)
            return new
        except Conflict:
            continue
    raise Busy(f"the release document changed {ATTEMPTS} times while this change was tried")


def model_of(release: Release, name: str) -> ModelRelease:
    """One model's state.

    Raises:
        UsageError: the fleet has no such model; says which it has.
    """
    if name not in release.models:
        raise UsageError(f"the fleet {release.fleet} has no model {name!r}", hint=_known(release))
    return release.models[name]


def _known(release: Release) -> str:
    names = sorted(release.models)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"it has: {shown}" if names else "it has none yet; add one to the fleet file and run `tfsdeploy up`"

"""What an `up` changes in the release: models that came or went, and pins that are new. Pure but for what it asks.

The other half of an `up`, the shape, is planned by the target (`tfsdeploy.targets.plan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from tfsdeploy.deploy.pinned import unlike
from tfsdeploy.deploy.words import split_words
from tfsdeploy.errors import Busy, UsageError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.release.model import ModelRelease, Release
from tfsdeploy.release.transitions import add, fold


class Committed(Protocol):
    """What the store holds, as far as it can be read from here."""

    def newest(self, model_name: str, /) -> int | None:
        """The highest committed version; None if there is none."""

    def versions(self, model_name: str, /) -> tuple[int, ...] | None:
        """All committed versions; None if the store cannot be read from here."""

    def digest(self, model_name: str, version: int, /) -> str | None:
        """The digest of a commit record; None if it cannot be read from here."""


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """What changes in the release.

    Attributes:
        models: the models that change, as they will be; None: they go.
        pins: the hash of the pins that are folded with it; None if they were folded before.
        lines: every change with its reason.
        warnings: what is not as the fleet file says, and stays so.
        complete: False if there is more to say once the store can be read.
    """

    models: Mapping[str, ModelRelease | None]
    pins: str | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    complete: bool = True


def release_plan(
    release: Release,
    fleet: Fleet,
    committed: Committed,
    *,
    settled: frozenset[str] = frozenset(),
    enforce_pins: bool = False,
) -> ReleasePlan:
    """The change that brings a release to what the fleet file says.

    Args:
        release: the present generation; one without models before the first.
        fleet: what is wanted.
        committed: what the store holds.
        settled: the models whose present traffic is known to be effective at every gateway.
        enforce_pins: fold the pins although they were folded before.

    Raises:
        UsageError: a version is pinned that the store does not hold.
        Busy: a model that would change belongs to a command.
    """
    pins = fleet.pins()
    known = replace(release, pins=None) if enforce_pins else release
    folded = fold(known, pins, keep=fleet.serving.keep, settled=settled)
    _check_committed(folded, release, committed)
    models: dict[str, ModelRelease | None] = {
        name: _with_digests(name, model, committed) for name, model in folded.items()
    }
    lines = [f"model {name}: {_pinned(release.models.get(name), model)}" for name, model in sorted(folded.items())]
    warnings = [] if folded else _left_alone(release, pins)
    for name in sorted(release.models.keys() - fleet.models.keys()):
        _check_free(name, release.models[name])
        models[name] = None
        lines.append(f"model {name}: removed, the fleet file does not name it any more")
    # A first promote that failed has left a model without versions.
    there = {name for name, model in release.models.items() if model.versions}
    for name in (name for name in fleet.models if name not in there and name not in models):
        newest = committed.newest(name)
        if newest is None:
            warnings.append(
                f"model {name} has no committed version in {fleet.store.url} yet; push one and run `tfsdeploy up` again"
            )
            continue
        models[name] = add(newest, committed.digest(name, newest))
        lines.append(f"model {name}: added with version {newest}, the newest that is committed")
    new_pins = pins.digest if pins.digest != release.pins else None
    complete = all(name in there or committed.versions(name) is not None for name in fleet.models)
    return ReleasePlan(models, new_pins, tuple(lines), tuple(warnings), complete)


def _pinned(before: ModelRelease | None, after: ModelRelease) -> str:
    if before is None:
        return f"added as pinned, {split_words(after)}"
    if before.traffic == after.traffic:
        return "labels and versions as pinned"
    return f"{split_words(before)} becomes {split_words(after)}, as pinned"


def _left_alone(release: Release, pins: Pins) -> list[str]:
    """Pins that were folded once, and are not what is live any more."""
    return [
        f"model {name}: the fleet file pins {words}; it stays so (`up --enforce-pins` to go back to the file)"
        for name, words in unlike(release, pins).items()
    ]


def _check_committed(folded: Mapping[str, ModelRelease], release: Release, committed: Committed) -> None:
    for name, model in folded.items():
        before = release.models.get(name)
        there = committed.versions(name)
        new = model.versions.keys() - (before.versions.keys() if before else set())
        missing = sorted(new - set(there)) if there is not None else []
        if missing:
            has = ", ".join(map(str, there or ())) or "none yet"
            raise UsageError(
                f"model {name}: version {missing[0]} is pinned and is not committed in the store",
                where=f"models.{name}",
                hint=f"committed: {has}; `tfsdeploy push` or `tfsdeploy adopt` adds one",
            )


def _with_digests(name: str, model: ModelRelease, committed: Committed) -> ModelRelease:
    versions = {v: d if d is not None else committed.digest(name, v) for v, d in model.versions.items()}
    return replace(model, versions=versions)


def _check_free(name: str, model: ModelRelease) -> None:
    if model.rollout is not None:
        raise Busy(
            f"{model.rollout.owner} is changing model {name}, which the fleet file does not name any more", where=name
        )

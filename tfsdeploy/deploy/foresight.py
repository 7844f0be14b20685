"""What `promote` would refuse of the versions that a fleet file pins: told before, since folding pins asks nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tfsdeploy.deploy import room
from tfsdeploy.deploy.checks import ModelStore, check_committed, check_compatible, check_loadable
from tfsdeploy.errors import Refused, UsageError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.release.model import ModelRelease, Release
from tfsdeploy.release.transitions import fold
from tfsdeploy.store.record import InvalidRecord
from tfsdeploy.targets.base import Settings

NEW = ModelRelease({}, {})


def refusals(fleet: Fleet, release: Release, store: ModelStore, settings: Settings) -> Iterator[tuple[str, str]]:
    """Go through the versions that are pinned and not loaded: are they committed, of a kind that is loaded,
    and do they fit clients, and memory?

    Args:
        fleet: pins them.
        release: what is live; one without models if nothing is, or nobody knows: then only a canary is compared, with
            the version that is pinned beside it.
        store: knows the versions.
        settings: that follow from the fleet file.

    Yields:
        where it stands in the file, such as ``models.ranker.version``, and what is wrong with it.

    Raises:
        TfsdeployError: the store does not answer.
    """
    folded = fold(replace(release, pins=None), fleet.pins(), keep=settings.keep)
    after = {**release.models, **folded}
    held = _held(store, after) if settings.memory is not None else {}
    for name, model in sorted(folded.items()):
        before = release.models.get(name, NEW)
        for version in sorted(model.versions.keys() - before.versions.keys()):
            is_main = version == model.main
            key = "version" if is_main else "canary.version"
            try:
                record = check_committed(store, name, version)
                check_loadable(record, settings)
                check_compatible(store, before if is_main else model, record)
                if settings.memory is not None:
                    beside = [one for other, one in held.items() if other != (name, version)]
                    room.check_limit(record, beside, settings.memory)
            except (UsageError, InvalidRecord, Refused) as error:
                yield f"models.{name}.{key}", error.message


def _held(store: ModelStore, models: Mapping[str, ModelRelease]) -> dict[room.Key, room.Held]:
    keys = [(name, version) for name, model in models.items() for version in model.versions]
    return dict(zip(keys, room.held(store, keys), strict=True))

"""What `gc` has to know before it may remove anything."""

from __future__ import annotations

from tfsdeploy.deploy.stores import StoredModels
from tfsdeploy.errors import UsageError
from tfsdeploy.release.history import needed_versions
from tfsdeploy.targets.base import Target


def needed(stored: StoredModels, target: Target) -> dict[str, dict[str, set[int]]]:
    """What fleets need of a store, by fleet and model; the one at hand as it is now, whoever has changed it last.

    Raises:
        UsageError: none has left word: everything would seem unneeded.
        TfsdeployError: the store is away, or a note is damaged.
    """
    found = stored.held()
    releases = target.releases() if target.settings() is not None else None
    release = None if releases is None else releases.read()
    if releases is not None and release is not None:
        known = found.setdefault(release.fleet, {})
        for model, numbers in needed_versions(release, releases.history()).items():
            known[model] = known.get(model, set()) | numbers
    if not found:
        raise UsageError(
            "no fleet has left word of what it needs in this store, so everything would seem to be garbage",
            where=stored.url,
            hint="run `tfsdeploy up` of each fleet that uses it, or this command where a fleet is up",
        )
    return found

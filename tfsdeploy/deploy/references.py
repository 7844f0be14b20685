"""The store is told what a fleet needs before a release needs it, so that `gc` leaves it alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tfsdeploy.errors import Refused, TfsdeployError
from tfsdeploy.release.history import needed_versions
from tfsdeploy.release.model import Release
from tfsdeploy.report import Report
from tfsdeploy.store.notes import Notes
from tfsdeploy.store.refs import Numbers, forget, remember
from tfsdeploy.targets.base import Target


class Remembering:
    """A target; a release that names new versions is written after the store's note about the fleet.

    Args:
        target: where the fleet lives.
        notes: of its store.
        report: hears if the store takes no notes: a command goes on without, since it may be allowed to read only.
    """

    def __init__(self, target: Target, notes: Notes, report: Report) -> None:
        self._target = target
        self._notes = notes
        self._report = report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def releases(self) -> Any:
        """The fleet's release document; see `Target.releases`."""
        return _Releases(self._target.releases(), self._remember)

    def forget(self, uid: str) -> None:
        """See `tfsdeploy.store.refs.forget`."""
        forget(self._notes, self._target.fleet, uid)

    def _remember(self, needed: Numbers, coming: Numbers, release: Release) -> None:
        try:
            remember(self._notes, release.fleet, release.uid, needed, coming, datetime.now(UTC))
        except Refused:
            raise
        except TfsdeployError as error:
            self._report.warn(
                f"the store takes no note of what fleet {release.fleet} needs, so `tfsdeploy gc` may not know: {error}"
            )


class _Releases:
    def __init__(self, releases: Any, told: Any) -> None:
        self._releases = releases
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._releases, name)

    def swap(self, new: Release, expected: Release | None) -> None:
        """See `tfsdeploy.release.update.ReleaseStore.swap`."""
        coming = added(new, expected)
        if coming:
            history = self._releases.history() if expected is not None else []
            self._told(needed_versions(expected, history) if expected is not None else {}, coming, new)
        self._releases.swap(new, expected)


def added(new: Release, before: Release | None) -> dict[str, set[int]]:
    """The versions, by model, that a generation names and the one before it did not. Pure."""
    there = {} if before is None else needed_versions(before, [])
    coming = {name: numbers - there.get(name, set()) for name, numbers in needed_versions(new, []).items()}
    return {name: numbers for name, numbers in coming.items() if numbers}

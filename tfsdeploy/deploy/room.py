"""Whether a version fits into the memory of its replicas, beside what they hold, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from tfsdeploy.errors import Refused, TfsdeployError
from tfsdeploy.release.model import ModelRelease, Release, Rollout
from tfsdeploy.release.transitions import begin
from tfsdeploy.store.record import Record
from tfsdeploy.targets.base import Settings

MEMORY_PER_BYTE = 1.2
"""Memory that a version takes for each byte on disk: TF Serving's own estimate (servables/tensorflow/util.cc)."""

SERVER_BYTES = 300 << 20
"""Memory of a model server without any version: tensorflow_model_server 2.20 measured at rest (318 MB)."""

READERS = 16

Key = tuple[str, int]


class Records(Protocol):
    """Where commit records can be read."""

    def record(self, model: str, version: int) -> Record | None:
        """A version's commit record; None if it is not committed."""


def check(
    store: Records,
    record: Record,
    release: Release,
    state: ModelRelease,
    settings: Settings,
    available: int | None,
) -> None:
    """Every replica can load a version beside what it holds.

    Args:
        store: knows what the other versions need.
        record: the version's commit record.
        release: what the replicas hold.
        state: what it says of the version's model.
        settings: how many replicas there are, and what limits each of them.
        available: bytes that can be had on this machine; None if the replicas are elsewhere, or it is not known.

    Raises:
        Refused: there is too little.
    """
    if record.version in state.versions:
        return
    beside = list(resident(release, state, record, settings.keep))
    if settings.memory is not None:
        check_limit(record, len(beside), sum(_held(store, beside)), settings.memory)
    if available is not None and peak_of(record) * settings.replicas > available:
        leaving = [(record.model, version) for version in state.versions if (record.model, version) not in beside]
        check_machine(record, settings.replicas, available + sum(_held(store, leaving)) * settings.replicas)


def check_limit(record: Record, count: int, held: int, limit: int) -> None:
    """One model server's limit holds it, what it has loaded, and the version.

    Args:
        record: the version's commit record.
        count: how many versions are loaded beside it.
        held: bytes that they take.
        limit: bytes that the server may have.

    Raises:
        Refused: it does not.
    """
    needed = peak_of(record)
    if SERVER_BYTES + held + needed > limit:
        raise Refused(
            f"version {record.version} of {record.model} does not fit: {_how(record)} {_mib(needed)} of memory beside "
            f"{_mib(held)} of {count} loaded versions and {_mib(SERVER_BYTES)} of the server, and each may have "
            f"{_mib(limit)}",
            hint="raise serving.resources.memory and run `tfsdeploy up`, or lower serving.keep",
        )


def check_machine(record: Record, replicas: int, available: int) -> None:
    """This machine holds the version once for each of its replicas.

    Args:
        record: the version's commit record.
        replicas: how many there are.
        available: bytes that can be had, with those of the versions that leave first.

    Raises:
        Refused: it does not.
    """
    needed = peak_of(record) * replicas
    if needed > available:
        how = f"{_how(record)} {_mib(peak_of(record))}"
        raise Refused(
            f"version {record.version} of {record.model} does not fit: {how} of memory, {_mib(needed)} on "
            f"{replicas} replicas of this machine, and {_mib(available)} can be had",
            hint="end what is not needed, or use fewer replicas",
        )


def resident(release: Release, state: ModelRelease, record: Record, keep: int) -> Iterator[Key]:
    """The versions that stay loaded while a new one loads: those beyond ``keep`` of its model leave first."""
    for name, model in release.models.items():
        if name != record.model:
            yield from ((name, version) for version in model.versions)
    rollout = Rollout(id="", to=record.version, steps=(100,), step=0, by="")
    after = begin(state, rollout, record.digest, keep=keep, take_over=True)
    yield from ((record.model, version) for version in after.versions if version != record.version)


def peak_of(record: Record) -> int:
    """Bytes that loading a version takes at most: as `push --check` measured it, or by its size."""
    return record.check.peak_memory if record.check else round(MEMORY_PER_BYTE * record.bytes)


def _held(store: Records, versions: Iterable[Key]) -> list[int]:
    def held(key: Key) -> int:
        try:
            record = store.record(*key)
        except TfsdeployError:
            # One that cannot be read is no reason to refuse another.
            return 0
        if record is None:
            return 0
        return record.check.memory if record.check else round(MEMORY_PER_BYTE * record.bytes)

    with ThreadPoolExecutor(READERS, "records") as pool:
        return list(pool.map(held, versions))


def _how(record: Record) -> str:
    return "it was measured to need" if record.check else "by its size it needs about"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"

"""Whether a version fits into the memory of its replicas, beside what they hold, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


class Estimated(Refused):
    """A refusal that rests on an estimate, so that who knows better may go on."""


@dataclass(frozen=True, slots=True)
class Held:
    """The memory that a loaded version takes."""

    bytes: int
    measured: bool


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
        Estimated: there is too little by what was estimated.
        Refused: there is too little by what was measured.
    """
    if record.version in state.versions:
        return
    beside = list(resident(release, state, record, settings.keep))
    if settings.memory is not None:
        check_limit(record, held(store, beside), settings.memory)
    if available is not None and peak_of(record) * settings.replicas > available:
        leaving = [(record.model, version) for version in state.versions if (record.model, version) not in beside]
        freed = sum(one.bytes for one in held(store, leaving))
        check_machine(record, settings.replicas, available + freed * settings.replicas)


def check_limit(record: Record, beside: Sequence[Held], limit: int) -> None:
    """One model server's limit holds it, what it has loaded, and the version.

    Args:
        record: the version's commit record.
        beside: what is loaded beside it.
        limit: bytes that the server may have.

    Raises:
        Estimated: it does not, as far as that can be told.
        Refused: it does not, and all of it was measured.
    """
    needed, taken = peak_of(record), sum(one.bytes for one in beside)
    if SERVER_BYTES + taken + needed > limit:
        measured = sum(one.bytes for one in beside if one.measured)
        raise _refusal(
            f"version {record.version} of {record.model} does not fit: {_how(record)} {_mib(needed)} of memory beside "
            f"{_mib(taken)} of {len(beside)} loaded versions and {_mib(SERVER_BYTES)} of the server, and each may have "
            f"{_mib(limit)}",
            "raise serving.resources.memory and run `tfsdeploy up`, or lower serving.keep",
            measured=record.check is not None and SERVER_BYTES + measured + needed > limit,
        )


def check_machine(record: Record, replicas: int, available: int) -> None:
    """This machine holds the version once for each of its replicas.

    Args:
        record: the version's commit record.
        replicas: how many there are.
        available: bytes that can be had, with those of the versions that leave first.

    Raises:
        Estimated: it does not, as far as that can be told.
        Refused: it does not, as was measured.
    """
    needed = peak_of(record) * replicas
    if needed > available:
        how = f"{_how(record)} {_mib(peak_of(record))}"
        raise _refusal(
            f"version {record.version} of {record.model} does not fit: {how} of memory, {_mib(needed)} on "
            f"{replicas} replicas of this machine, and {_mib(available)} can be had",
            "end what is not needed, or use fewer replicas",
            measured=record.check is not None,
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


def _refusal(message: str, hint: str, *, measured: bool) -> Refused:
    if measured:
        return Refused(message, hint=hint)
    return Estimated(message, hint=f"{hint}; --force promotes it all the same, as only `push --check` measures")


def held(store: Records, versions: Iterable[Key]) -> list[Held]:
    """What each of some versions takes when it is loaded; nothing if that cannot be known."""

    def look(key: Key) -> Held:
        try:
            record = store.record(*key)
        except TfsdeployError:
            # One that cannot be read is no reason to refuse another.
            return Held(0, measured=False)
        if record is None:
            return Held(0, measured=False)
        if record.check:
            return Held(record.check.memory, measured=True)
        return Held(round(MEMORY_PER_BYTE * record.bytes), measured=False)

    with ThreadPoolExecutor(READERS, "records") as pool:
        return list(pool.map(look, versions))


def _how(record: Record) -> str:
    return "it was measured to need" if record.check else "by its size it needs about"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"

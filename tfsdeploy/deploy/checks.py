"""What must be true before a promote writes anything: committed, compatible, and room for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from tfsdeploy.deploy import room
from tfsdeploy.deploy.gates import GATE_SECONDS, RestGate
from tfsdeploy.deploy.metadata import Input, example_request
from tfsdeploy.errors import Refused, TfsdeployError, UsageError
from tfsdeploy.release.model import ModelRelease, Release
from tfsdeploy.store.golden import Golden
from tfsdeploy.store.record import InvalidRecord, Record
from tfsdeploy.store.savedmodel import SavedModelInfo, Signature, compatible, is_tflite_alone, signatures_from_plain
from tfsdeploy.targets.base import Settings


class Incompatible(Refused):
    """Clients of the version that serves could not use the new one, or nobody can tell."""


class ModelStore(Protocol):
    """What a promote asks of the store."""

    def versions(self, model: str) -> tuple[int, ...] | None:
        """The committed versions, lowest first; None if they cannot be read from here."""

    def record(self, model: str, version: int) -> Record | None:
        """A version's commit record; None if it is not committed."""

    def inspect(self, model: str, version: int) -> SavedModelInfo:
        """What its SavedModel says of itself."""

    def golden(self, record: Record) -> tuple[Golden, ...]:
        """Its golden requests; empty if it has none."""


def check_committed(store: ModelStore, model: str, version: int) -> Record:
    """The version's commit record.

    Raises:
        UsageError: there is none; says which versions there are.
        InvalidRecord: it is damaged, or has no signature that the fleet asks for.
    """
    record = store.record(model, version)
    if record is not None:
        return record
    there = ", ".join(map(str, store.versions(model) or ())) or "none yet"
    raise UsageError(
        f"model {model} has no committed version {version}",
        hint=f"committed: {there}; `tfsdeploy push` publishes one, `tfsdeploy adopt` takes one that is there already",
    )


def check_loadable(record: Record, settings: Settings) -> None:
    """The fleet's model servers load models of its kind.

    Raises:
        Refused: they do not.
    """
    if settings.tflite is False and is_tflite_alone(file.path for file in record.files):
        raise Refused(
            f"version {record.version} of {record.model} is a TFLite model alone, which fleet {settings.fleet} does "
            "not load",
            hint="write prefer_tflite_model: true below serving.flags, and run `tfsdeploy up`",
        )


def check_compatible(store: ModelStore, state: ModelRelease, record: Record) -> None:
    """Clients of the version that serves can use the new one.

    Raises:
        Incompatible: they would break; lists why. Also if either version is not there, or is no sound SavedModel.
    """
    model, version = record.model, record.version
    if state.main is None or state.main == version:
        return
    try:
        serving = store.record(model, state.main)
        if serving is None:
            raise UsageError(
                f"the store lacks version {state.main}, which serves: nobody can tell whether its clients would break",
                hint="is it still the same store? --force promotes it without comparing",
            )
        new = _signatures(store, model, version, record)
        reasons = compatible(_signatures(store, model, state.main, serving), new)
    except (UsageError, InvalidRecord) as error:
        hint = error.hint or "--force promotes it without comparing"
        message = f"the signatures of version {version} of {model} cannot be compared: {error.message}"
        raise Incompatible(message, where=error.where, hint=hint) from error
    if reasons:
        raise Incompatible(
            f"version {version} of {model} would break clients of version {state.main}: {'; '.join(reasons)}",
            hint="--force promotes it all the same",
        )


def _signatures(store: ModelStore, model: str, version: int, record: Record | None) -> Mapping[str, Signature]:
    """A version's signatures: as its record tells them, or read from its graph."""
    if record is not None and record.signatures is not None:
        try:
            return signatures_from_plain(record.signatures)
        except ValueError as error:
            raise InvalidRecord(f"not a commit record: {error}", where=f"{model}/{version}") from error
    return store.inspect(model, version).signatures


def check_promotion(
    store: ModelStore,
    release: Release,
    state: ModelRelease,
    model: str,
    version: int,
    settings: Settings,
    *,
    available: int | None,
    force: bool,
    warn: Callable[[str], None],
) -> Record:
    """Everything that can be known before the first write.

    Args:
        store: where the version is.
        release: what every replica holds.
        state: what it says of the model.
        model: its name.
        version: the version.
        settings: of the fleet.
        available: bytes of memory that can be had on this machine; None if the replicas are elsewhere.
        force: go on although clients would break, or although it does not fit by an estimate.
        warn: hears what that was.

    Returns:
        The version's commit record.

    Raises:
        UsageError: the version is not committed.
        Refused: it would break clients, does not fit, is not signed as it must be, or of a kind that is not loaded.
    """
    try:
        record = check_committed(store, model, version)
    except InvalidRecord as error:
        raise Refused(error.message, where=error.where, hint=error.hint) from error
    check_loadable(record, settings)
    for check in (
        partial(check_compatible, store, state, record),
        partial(room.check, store, record, release, state, settings, available),
    ):
        try:
            check()
        except (Incompatible, room.Estimated) as error:
            if not force:
                raise
            warn(f"forced, although {error.message}")
    return record


def check_canary(state: ModelRelease, version: int, steps: tuple[int, ...]) -> None:
    """A part of the traffic can only go to another version than the main one.

    Raises:
        UsageError: the version is the main one.
    """
    if version == state.main and steps[-1] != 100:
        raise UsageError(
            f"version {version} is the main version already, so it can only get all the traffic",
            hint="name the version on trial, or leave out --weight and --steps",
        )


def gate_of(store: ModelStore, record: Record, given: Path | None, *, timeout: float = GATE_SECONDS) -> RestGate:
    """What every replica must answer before traffic moves: the version's golden requests and the operator's own.

    Without either one is made up from the signature.

    Args:
        store: where the version is.
        record: its commit record.
        given: the operator's request, a file; None without one.
        timeout: seconds that a replica has for an answer, if they are fewer than those of every gate.

    Raises:
        UsageError: the operator's file cannot be read.
        Refused: the golden requests cannot be understood.
    """
    made = partial(RestGate, record.model, record.version, timeout=min(timeout, GATE_SECONDS))
    try:
        golden = store.golden(record)
    except UsageError as error:
        raise Refused(error.message, where=error.where, hint=error.hint) from error
    if given is not None:
        try:
            return made(given.read_bytes(), given=True, golden=golden)
        except OSError as error:
            raise UsageError(f"the example request cannot be read: {error.strerror}", where=str(given)) from error
    return made(None if golden else _made_up(store, record), golden=golden)


def _made_up(store: ModelStore, record: Record) -> bytes | None:
    try:
        signature = _signatures(store, record.model, record.version, record).get("serving_default")
        if signature is None:
            return None
        inputs = {
            name: Input(f"DT_{tensor.dtype.upper()}", _shape(tensor.shape)) for name, tensor in signature.inputs.items()
        }
        return example_request(inputs)
    except TfsdeployError:
        # No request can be made, such as for a model without signatures: then that it is AVAILABLE has to do.
        return None


def _shape(shape: tuple[int | None, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None else tuple(-1 if size is None else size for size in shape)

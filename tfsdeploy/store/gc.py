"""Remove versions that no fleet needs: one run marks them, a later one sweeps those that are marked and not needed yet.

A version is swept in an order that a promote at the same moment sees: said first, then the refs are read again, then
it goes, its commit record before its files. A run that is killed is finished by the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Protocol

from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.store import refs
from tfsdeploy.store.notes import Notes
from tfsdeploy.store.record import InvalidRecord, Record

YOUNG = timedelta(days=7)
"""Nothing is removed that was committed less than this ago."""

ATTEMPTS = 20


class Removable(Protocol):
    """A store from which versions can be removed; see `tfsdeploy.store.store.Store`."""

    @property
    def notes(self) -> Notes:
        """Its own notes."""

    def models(self) -> list[str]:
        """The names of its models."""

    def versions(self, model_name: str) -> list[int]:
        """The committed versions, ascending."""

    def record(self, model_name: str, version: int) -> Record | None:
        """A version's commit record."""

    def discard(self, model_name: str, version: int) -> None:
        """Remove a version, its commit record first."""


@dataclass(frozen=True, slots=True)
class Row:
    """A version that no fleet needs, and what was done, or would be.

    Attributes:
        model: its name.
        version: its number.
        bytes: that it has; 0 if its commit record is gone already.
        committed: when it was published, UTC, ISO 8601.
        done: ``mark``: from now on it is marked; ``sweep``: it was marked by an earlier run, and is removed.
    """

    model: str
    version: int
    bytes: int
    committed: str
    done: Literal["mark", "sweep"]


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of a model: when each version was marked (ISO 8601), and those that are being removed."""

    marked: Mapping[int, str]
    sweeping: Set[int]


def unneeded(versions: Sequence[int], held: Set[int], keep: int) -> list[int]:
    """The versions that may go if they are old enough: not held, and not among the newest. Pure.

    Args:
        versions: all that are committed, ascending.
        held: by any fleet.
        keep: how many of the newest stay whoever needs them; at least 1, so that no number is given away anew.
    """
    return [number for number in versions[: -max(1, keep)] if number not in held]


def is_old(record: Record, at: datetime) -> bool:
    """Whether a version was committed long enough ago; one whose time is nonsense is young."""
    try:
        return at - datetime.fromisoformat(record.committed) > YOUNG
    except (ValueError, TypeError):
        return False


def collect(
    store: Removable,
    models: Sequence[str],
    *,
    keep: int,
    at: datetime,
    act: bool,
    also: refs.Numbers = MappingProxyType({}),
) -> Iterator[Row]:
    """Go through models one by one, mark what no fleet needs, and sweep what was marked before.

    Args:
        store: which store.
        models: of it.
        keep: see `unneeded`.
        at: now.
        act: do it; otherwise only tell.
        also: what is needed beside what the notes say, by model.

    Yields:
        each version that was marked or swept, or would be; ended early, the rest stays as it is.

    Raises:
        TfsdeployError: the store is away, or a fleet's note is damaged.
    """
    for model in models:
        held = _held(store.notes, model, also)
        numbers = store.versions(model)
        before = _marks(store.notes, model)
        # Of each record only what a row shows: a model can have thousands.
        garbage: dict[int, tuple[int, str]] = {}
        for number in unneeded(numbers, held, keep):
            try:
                record = store.record(model, number)
            except InvalidRecord:
                # How old it is cannot be known; `verify` tells of it.
                continue
            if record is not None and is_old(record, at):
                garbage[number] = record.bytes, record.committed
        torn = sorted(before.sweeping - set(numbers))
        for number in torn:
            try:
                if act and not _sweep(store, model, number, also):
                    continue
            except Busy:
                # Somebody publishes this number anew.
                continue
            yield Row(model, number, 0, "", "sweep")
        for number, (size, committed) in garbage.items():
            done: Literal["mark", "sweep"] = "sweep" if number in before.marked else "mark"
            if act and done == "sweep" and not _sweep(store, model, number, also):
                continue
            yield Row(model, number, size, committed, done)
        if act:
            new = {number: at.isoformat() for number in garbage if number not in before.marked}
            stays = set(numbers) - garbage.keys()
            _change(store.notes, model, partial(_tidied, new=new, stays=stays))


def _tidied(marks: Marks, *, new: Mapping[int, str], stays: Set[int]) -> Marks:
    """With new marks, and without those of versions that stay: needed again, or published anew."""
    marked = {number: when for number, when in marks.marked.items() if number not in stays}
    return Marks({**new, **marked}, marks.sweeping - stays)


def _held(notes: Notes, model: str, also: refs.Numbers) -> set[int]:
    return {number for needed in (also, *refs.held(notes).values()) for number in needed.get(model, ())}


def _sweep(store: Removable, model: str, number: int, also: refs.Numbers) -> bool:
    """Remove one version, unless a fleet has come to need it since."""
    notes = store.notes
    _change(notes, model, lambda marks: Marks(marks.marked, marks.sweeping | {number}))
    gone = number not in _held(notes, model, also)
    if gone:
        store.discard(model, number)
    _change(
        notes,
        model,
        lambda marks: Marks({n: when for n, when in marks.marked.items() if n != number}, marks.sweeping - {number}),
    )
    return gone


def _marks(notes: Notes, model: str) -> Marks:
    return _decode(notes.read(_note(model)), _note(model))


def _change(notes: Notes, model: str, change: Callable[[Marks], Marks]) -> None:
    for _ in range(ATTEMPTS):
        content = notes.read(_note(model))
        after = change(_decode(content, _note(model)))
        wanted = _encode(after) if after.marked or after.sweeping else None
        if wanted == content or notes.swap(_note(model), content, wanted):
            return
    raise Busy(f"others changed it {ATTEMPTS} times meanwhile", where=_note(model), hint="run this again")


def _note(model: str) -> str:
    return f"{refs.MARKS}/{model}.json"


def _encode(marks: Marks) -> bytes:
    marked = {str(number): when for number, when in sorted(marks.marked.items())}
    return (json.dumps({"marked": marked, "sweeping": sorted(marks.sweeping)}) + "\n").encode()


def _decode(content: bytes | None, where: str) -> Marks:
    if content is None:
        return Marks({}, frozenset())
    try:
        plain: Any = json.loads(content)
        marked = {int(number): str(when) for number, when in plain["marked"].items()}
        return Marks(marked, frozenset(map(int, plain["sweeping"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TfsdeployError("these marks are damaged", where=where, hint="remove them: they only put off") from error

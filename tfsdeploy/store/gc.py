"""Remove versions that no fleet needs: one run marks them, a later one sweeps those that are marked and not needed yet.

Versions are swept in an order that a promote at the same moment sees: said first, then the refs are read again, then
they go, each one's commit record before its files. A run that is killed is finished by the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from threading import Condition, Event
from types import MappingProxyType
from typing import Any, Literal, Protocol

from tfsdeploy.errors import Busy
from tfsdeploy.store import refs
from tfsdeploy.store.notes import Notes
from tfsdeploy.store.record import InvalidRecord, Record

YOUNG = timedelta(days=7)
"""Nothing is removed that was committed, or came to this store, less than this ago."""

ATTEMPTS = 20

READERS, SWEEPERS = 16, 8
"""Commit records that are read at once, and versions that are removed at once."""

ROUNDS, ROUND = 20, 50
"""So many rounds at most, each with so many versions at least, remove those of a model: what is said of them in each
grows with all that are marked."""


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

    def dated(self, model_name: str, version: int) -> tuple[Record, datetime] | None:
        """The same, and when this store was given it."""

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


def is_old(record: Record, came: datetime, at: datetime) -> bool:
    """Whether a version was committed, and came to its store, long enough ago; one whose time is nonsense is young."""
    try:
        return at - max(datetime.fromisoformat(record.committed), came) > YOUNG
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
        garbage = _old_enough(store, model, unneeded(numbers, held, keep), at)
        left = before.sweeping - set(numbers)
        going = dict.fromkeys(sorted(left), (0, ""))
        going |= {number: told for number, told in garbage.items() if number in before.marked}
        for number in _swept(store, model, list(going), also, left) if act else going:
            yield Row(model, number, *going[number], "sweep")
        for number, told in garbage.items():
            if number not in going:
                yield Row(model, number, *told, "mark")
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


def _old_enough(store: Removable, model: str, numbers: Sequence[int], at: datetime) -> dict[int, tuple[int, str]]:
    """The versions that are old enough to go, with bytes and time: no more of a record, as there can be thousands."""

    def look(number: int) -> tuple[int, str] | None:
        try:
            found = store.dated(model, number)
        except InvalidRecord:
            # How old it is cannot be known; `verify` tells of it.
            return None
        return (found[0].bytes, found[0].committed) if found is not None and is_old(*found, at) else None

    with _workers(READERS) as pool:
        return {number: told for number, told in zip(numbers, pool.map(look, numbers), strict=True) if told}


def _swept(store: Removable, model: str, numbers: Sequence[int], also: refs.Numbers, left: Set[int]) -> Iterator[int]:
    """Remove versions but those that a fleet has come to need since; yields each one as soon as it is gone.

    ``left``: those whose commit record an earlier run has removed.
    """
    size = max(ROUND, -(-len(numbers) // ROUNDS))
    for start in range(0, len(numbers), size):
        yield from _round(store, model, numbers[start : start + size], also, left)


def _is_committed(store: Removable, model: str, number: int) -> bool:
    try:
        return store.record(model, number) is not None
    except InvalidRecord:
        return True


def _round(store: Removable, model: str, numbers: Sequence[int], also: refs.Numbers, left: Set[int]) -> Iterator[int]:
    notes, begun, ended, over, gone = store.notes, set[int](), set[int](), set[int](), set[int]()
    change, stopped = Condition(), Event()

    def discard(number: int) -> bool:
        if number in left and _is_committed(store, model, number):
            # What an earlier run has left was published anew.
            return False
        with change:
            if stopped.is_set():
                return False
            begun.add(number)
        try:
            store.discard(model, number)
            gone.add(number)
            over.add(number)
            return True
        except Busy:
            # Somebody publishes this number anew.
            return False
        finally:
            with change:
                ended.add(number)
                change.notify_all()

    _change(notes, model, lambda marks: Marks(marks.marked, marks.sweeping | set(numbers)))
    try:
        over |= _held(notes, model, also) & set(numbers)
        going = [number for number in numbers if number not in over]
        with _workers(SWEEPERS) as pool:
            said = set[int]()
            try:
                coming = {pool.submit(discard, number): number for number in going}
                for future in as_completed(coming):
                    if future.result():
                        said.add(coming[future])
                        yield coming[future]
            except (Exception, KeyboardInterrupt):
                # Those on their way are removed all the same, and said to be.
                pool.shutdown(cancel_futures=True)
                # The pool does not know of a worker during whose start Ctrl-C came.
                with change:
                    stopped.set()
                    change.wait_for(lambda: begun == ended)
                yield from sorted(gone - said)
                raise
    finally:
        # What was begun and has not ended is for the next run; what was not even begun stays as it was.
        _change(
            notes,
            model,
            lambda marks: Marks(
                {number: when for number, when in marks.marked.items() if number not in over},
                marks.sweeping - (set(numbers) - (begun - over)),
            ),
        )


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count, "gc")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


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
    with refs.sound_marks(where):
        plain: Any = json.loads(content)
        marked = {int(number): str(when) for number, when in plain["marked"].items()}
        return Marks(marked, frozenset(map(int, plain["sweeping"])))

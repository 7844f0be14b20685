"""What fleets need of a store, ``refs/FLEET.json``: written by commands before a release needs it, honoured by `gc`.

A fleet's name may be used in two places at once, or again after its end: each life of it, known by the release's uid,
has a part of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tfsdeploy.errors import Busy, Refused, TfsdeployError
from tfsdeploy.store.notes import Notes

REFS, MARKS = "refs", "marks"

COMING = timedelta(days=1)
"""How long a version is kept that a command was about to load, and no release has named since."""

ATTEMPTS = 20

LOOKS = 3
"""How often a note that is listed is looked for."""

Numbers = Mapping[str, Set[int]]


@dataclass(frozen=True, slots=True)
class Life:
    """What one life of a fleet needs.

    Attributes:
        needed: what its release and history name, by model.
        coming: when a command was about to load a version, by model and version.
    """

    needed: Numbers = field(default_factory=dict)
    coming: Mapping[str, Mapping[int, datetime]] = field(default_factory=dict)

    def numbers(self) -> dict[str, set[int]]:
        """Everything of it, by model."""
        found = {name: set(numbers) for name, numbers in self.needed.items()}
        for name, coming in self.coming.items():
            found.setdefault(name, set()).update(coming)
        return found

    def next(self, needed: Numbers, coming: Numbers, at: datetime) -> Life:
        """The same life with what its release needs now, and with what is about to come. Pure."""
        young = {
            name: {number: when for number, when in numbers.items() if at - when < COMING}
            for name, numbers in self.coming.items()
        }
        for name, numbers in coming.items():
            young[name] = young.get(name, {}) | dict.fromkeys(numbers, at)
        return Life(needed, {name: numbers for name, numbers in young.items() if numbers})


def remember(notes: Notes, fleet: str, uid: str, needed: Numbers, coming: Numbers, at: datetime) -> None:
    """Write what a fleet needs, before its release does.

    Args:
        notes: of the store.
        fleet: its name.
        uid: of its release.
        needed: what its release and its history name, by model.
        coming: what the next generation will name beside it.
        at: now.

    Raises:
        Refused: `gc` is removing one of the coming versions.
        TfsdeployError: it could not be written.
    """
    name = f"{REFS}/{fleet}.json"
    for _ in range(ATTEMPTS):
        before = notes.read(name)
        lives = decode(before, name)
        after = encode({**lives, uid: lives.get(uid, Life()).next(needed, coming, at)})
        if after == before or notes.swap(name, before, after):
            break
    else:
        raise Busy(f"others changed it {ATTEMPTS} times meanwhile", where=name, hint="run this again")
    # `gc` says first what it removes and reads the refs then; one of the two sees the other.
    for model, numbers in coming.items():
        going = sorted(numbers & sweeping(notes, model))
        if going:
            hint = (
                "push it again; or, if that was interrupted, run `tfsdeploy gc --yes`: it leaves this version alone now"
            )
            raise Refused(f"`tfsdeploy gc` is removing version {going[0]} of {model}", hint=hint)


def forget(notes: Notes, fleet: str, uid: str) -> None:
    """A life of a fleet has ended: nothing of it is needed any more."""
    name = f"{REFS}/{fleet}.json"
    for _ in range(ATTEMPTS):
        before = notes.read(name)
        lives = decode(before, name)
        if uid not in lives:
            return
        left = {one: life for one, life in lives.items() if one != uid}
        if notes.swap(name, before, encode(left) if left else None):
            return


def held(notes: Notes) -> dict[str, dict[str, set[int]]]:
    """What is needed, by fleet and model.

    Raises:
        TfsdeployError: a note is damaged, or listed and not there: what its fleet needs is not known.
    """
    found: dict[str, dict[str, set[int]]] = {}
    for file in notes.names(REFS):
        if (content := _listed(notes, file)) is None:
            continue
        needed: dict[str, set[int]] = {}
        for life in decode(content, f"{REFS}/{file}").values():
            for model, numbers in life.numbers().items():
                needed.setdefault(model, set()).update(numbers)
        found[file.removesuffix(".json")] = needed
    return found


def _listed(notes: Notes, file: str) -> bytes | None:
    """What a note says that was listed; None only if it is not listed any more, as its fleet has taken it away."""
    name = f"{REFS}/{file}"
    for _ in range(LOOKS):
        if (content := notes.read(name)) is not None or file not in notes.names(REFS):
            return content
    raise TfsdeployError(
        "this note of what a fleet needs is listed, but the store says that there is none; nothing was removed",
        where=name,
        hint="run this again; if it stays so, the store is broken",
    )


def sweeping(notes: Notes, model: str) -> set[int]:
    """The versions of a model that `gc` has begun to remove.

    Raises:
        TfsdeployError: its marks are nonsense.
    """
    name = f"{MARKS}/{model}.json"
    content = notes.read(name)
    with sound_marks(name):
        return set() if content is None else set(map(int, json.loads(content)["sweeping"]))


@contextmanager
def sound_marks(where: str) -> Iterator[None]:
    """Say of marks that cannot be read how one goes on without them.

    Raises:
        TfsdeployError: they are nonsense.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TfsdeployError("these marks are damaged", where=where, hint="remove them: they only put off") from error


def encode(lives: Mapping[str, Life]) -> bytes:
    """A fleet's note as it stands in the store."""
    plain = {
        uid: {
            "needed": {name: sorted(numbers) for name, numbers in sorted(life.needed.items())},
            "coming": {
                name: {str(number): when.isoformat() for number, when in sorted(numbers.items())}
                for name, numbers in sorted(life.coming.items())
            },
        }
        for uid, life in sorted(lives.items())
    }
    return (json.dumps({"lives": plain}, indent=1) + "\n").encode()


def decode(content: bytes | None, where: str) -> dict[str, Life]:
    """A fleet's lives, by uid.

    Raises:
        TfsdeployError: it is nonsense, which might mean anything: nobody may take it for nothing.
    """
    if content is None:
        return {}
    try:
        plain: Any = json.loads(content)
        return {
            str(uid): Life(
                {str(name): frozenset(map(int, numbers)) for name, numbers in life["needed"].items()},
                {
                    str(name): {int(number): _moment(when) for number, when in numbers.items()}
                    for name, numbers in life["coming"].items()
                },
            )
            for uid, life in plain["lives"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = "remove it if you know that its fleet is gone; the fleet's next `tfsdeploy up` writes it anew"
        raise TfsdeployError("this note of what a fleet needs is damaged", where=where, hint=hint) from error


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} says not of which time zone")
    return found

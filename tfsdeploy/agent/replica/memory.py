"""What a replica agent remembers across restarts of itself and of its model server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfsdeploy.release.disk import write_atomically

Key = tuple[str, int]
"""A model's name and a version."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Why a version is not tried again: what went wrong with the bytes of this digest."""

    digest: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered.

    Attributes:
        listed: what ``models.config`` lists: model -> versions.
        proven: versions that were AVAILABLE here, with their digests; a death of the server does not discredit them.
        failed: versions that failed to load.
        departing: versions that left ``models.config`` and whose END was not seen yet.
        stale: listed versions whose END row is from before they were listed.
        deaths: how often the server died while a version was loading.
    """

    listed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    proven: Mapping[Key, str | None] = field(default_factory=dict)
    failed: Mapping[Key, Mark] = field(default_factory=dict)
    departing: frozenset[Key] = frozenset()
    stale: frozenset[Key] = frozenset()
    deaths: Mapping[Key, int] = field(default_factory=dict)

    def lists(self, key: Key) -> bool:
        """Whether ``models.config`` lists a version."""
        return key[1] in self.listed.get(key[0], ())

    def held(self) -> set[Key]:
        """Every listed version."""
        return {(model, version) for model, versions in self.listed.items() for version in versions}


def read(file: Path) -> Memory:
    """What was kept; nothing if there is nothing, or nonsense."""
    try:
        plain: Any = json.loads(file.read_bytes())
        return Memory(
            listed={str(model): tuple(int(v) for v in versions) for model, versions in plain["listed"].items()},
            proven={_key(text): digest for text, digest in plain["proven"].items()},
            failed={_key(text): Mark(mark["digest"], str(mark["error"])) for text, mark in plain["failed"].items()},
            departing=frozenset(_key(text) for text in plain["departing"]),
            stale=frozenset(_key(text) for text in plain["stale"]),
            deaths={_key(text): int(count) for text, count in plain["deaths"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory()


def write(file: Path, memory: Memory) -> None:
    """Keep it; raises OSError."""
    plain = {
        "listed": {model: list(versions) for model, versions in sorted(memory.listed.items())},
        "proven": {_text(key): digest for key, digest in sorted(memory.proven.items())},
        "failed": {_text(k): {"digest": m.digest, "error": m.error} for k, m in sorted(memory.failed.items())},
        "departing": sorted(_text(key) for key in memory.departing),
        "stale": sorted(_text(key) for key in memory.stale),
        "deaths": {_text(key): count for key, count in sorted(memory.deaths.items())},
    }
    write_atomically(file, json.dumps(plain, indent=1) + "\n")


def _text(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _key(text: str) -> Key:
    model, _, version = text.rpartition("/")
    return model, int(version)

"""What a replica agent remembers across restarts of itself and of its model server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfsdeploy.files import replace_file

Key = tuple[str, int]
"""A model's name and a version."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Why a version is not tried again: what went wrong with the bytes of this digest, and for which promote."""

    digest: str | None
    error: str
    promote: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered.

    Attributes:
        listed: what ``models.config`` lists, each version with the digest of the bytes that were verified for it.
        proven: versions that were AVAILABLE here, with their digests; one death of the server does not discredit them.
        failed: versions that failed to load.
        departing: versions that left ``models.config`` and whose END was not seen yet.
        stale: listed versions whose END row is from before they were listed.
        deaths: how often the server died while a version was loading.
        gateways: who polled lately, so that an agent that restarts knows whom to wait for.
    """

    listed: Mapping[Key, str | None] = field(default_factory=dict)
    proven: Mapping[Key, str | None] = field(default_factory=dict)
    failed: Mapping[Key, Mark] = field(default_factory=dict)
    departing: frozenset[Key] = frozenset()
    stale: frozenset[Key] = frozenset()
    deaths: Mapping[Key, int] = field(default_factory=dict)
    gateways: frozenset[str] = frozenset()

    def by_model(self) -> dict[str, tuple[int, ...]]:
        """Every listed version, sorted: model -> versions."""
        models: dict[str, list[int]] = {}
        for model, version in sorted(self.listed):
            models.setdefault(model, []).append(version)
        return {model: tuple(versions) for model, versions in models.items()}


def read(file: Path) -> Memory | None:
    """What was kept; None if there is nothing, or nonsense."""
    try:
        plain: Any = json.loads(file.read_bytes())
        return Memory(
            listed=_keyed(plain["listed"]),
            proven=_keyed(plain["proven"]),
            failed={
                key: Mark(mark["digest"], str(mark["error"]), mark.get("promote"))
                for key, mark in _keyed(plain["failed"]).items()
            },
            departing=frozenset(_key(text) for text in plain["departing"]),
            stale=frozenset(_key(text) for text in plain["stale"]),
            deaths={key: int(count) for key, count in _keyed(plain["deaths"]).items()},
            gateways=frozenset(str(name) for name in plain["gateways"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(file: Path, memory: Memory) -> None:
    """Keep it; raises OSError."""
    plain = {
        "listed": _plain(memory.listed),
        "proven": _plain(memory.proven),
        "failed": _plain({key: asdict(mark) for key, mark in memory.failed.items()}),
        "departing": sorted(_text(key) for key in memory.departing),
        "stale": sorted(_text(key) for key in memory.stale),
        "deaths": _plain(memory.deaths),
        "gateways": sorted(memory.gateways),
    }
    replace_file(file, json.dumps(plain, indent=1) + "\n")


def _plain(values: Mapping[Key, Any]) -> dict[str, Any]:
    return {_text(key): value for key, value in sorted(values.items(), key=lambda item: item[0])}


def _keyed(plain: Mapping[str, Any]) -> dict[Key, Any]:
    return {_key(text): value for text, value in plain.items()}


def _text(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _key(text: str) -> Key:
    model, _, version = text.rpartition("/")
    return model, int(version)

"""How deploying puts things: lists of reasons, splits, numbers of things."""

from __future__ import annotations

from collections.abc import Mapping

from tfsdeploy.release.model import ModelRelease


def listed(reasons: Mapping[str, str]) -> str:
    """Who, and why: ``a, b: why; c: why``."""
    names: dict[str, list[str]] = {}
    for name, why in sorted(reasons.items()):
        names.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(who)}: {why}" for why, who in names.items())


def split_words(model: ModelRelease) -> str:
    """A model's wanted traffic: ``traffic 7:90 8:10``."""
    return "traffic " + " ".join(f"{version}:{share}" for version, share in model.traffic.items())


def count(number: int, noun: str) -> str:
    """``1 replica``, ``2 replicas``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

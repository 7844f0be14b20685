"""Kinds of words that commands take: versions, shares, durations."""

from __future__ import annotations

import re
from typing import Any

import click

from tfsdeploy.names import MAX_VERSION, parse_version

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?\Z")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class Version(click.ParamType):
    """A version number, in its one spelling."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        version = value if isinstance(value, int) else parse_version(value)
        if version is None:
            self.fail(f"{value!r} is no version: a number from 1 to {MAX_VERSION}, without leading zeros", param, ctx)
        return version


class Steps(click.ParamType):
    """Shares in percent, growing: ``5,25,100``."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The shares."""
        if isinstance(value, tuple):
            return value
        words = value.split(",")
        shares = tuple(int(word) for word in words if word.isascii() and word.isdigit())
        if len(shares) != len(words) or any(not 1 <= share <= 100 for share in shares):
            self.fail(f"{value!r}: shares from 1 to 100 are expected, joined by commas", param, ctx)
        if list(shares) != sorted(set(shares)):
            self.fail(f"{value!r}: each step must be more than the one before", param, ctx)
        return shares


class Seconds(click.ParamType):
    """A duration: ``30s``, ``500ms``, ``2m``, ``1h``; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        if isinstance(value, float):
            return value
        found = _SECONDS.match(value)
        if found is None:
            self.fail(f"{value!r}: a duration is expected, such as 500ms, 30s or 2m", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


VERSION, STEPS, SECONDS = Version(), Steps(), Seconds()

"""Kinds of words that commands take: versions, shares, durations."""

from __future__ import annotations

import math
import re

import click

from tfsdeploy.names import MAX_VERSION, parse_version

MAX_RATE = 100_000
"""Requests a second; an open-loop stream from one process cannot keep up with more."""

MAX_SECONDS = 30 * 86400
"""A month: nobody waits longer, and what the system's timers take is not much more."""

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?\Z", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def version(text: str) -> int:
    """A version number, in its one spelling."""
    number = parse_version(text)
    if number is None:
        raise click.BadParameter(f"{text!r} is no version: a number from 1 to {MAX_VERSION}, without leading zeros")
    return number


def version_or_auto(text: str) -> int | None:
    """A version number, or None for ``auto``."""
    return None if text == "auto" else version(text)


def steps(text: str) -> tuple[int, ...]:
    """Shares in percent, growing: ``5,25,100``."""
    words = text.split(",")
    shares = tuple(int(word) for word in words if word.isascii() and word.isdigit())
    if len(shares) != len(words) or any(not 1 <= share <= 100 for share in shares):
        raise click.BadParameter(f"{text!r}: shares from 1 to 100 are expected, joined by commas")
    if list(shares) != sorted(set(shares)):
        raise click.BadParameter(f"{text!r}: each step must be more than the one before")
    return shares


def seconds(text: str) -> float:
    """A duration: ``30s``, ``500ms``, ``2m``, ``1h``; a bare number is seconds."""
    found = _SECONDS.match(text)
    if found is None:
        raise click.BadParameter(f"{text!r}: a duration is expected, such as 500ms, 30s or 2m")
    wanted = float(found[1]) * _UNITS[found[2]]
    if wanted > MAX_SECONDS:
        raise click.BadParameter(f"{text!r}: at most 720h are expected")
    return wanted


def span(text: str) -> float:
    """A duration that is longer than nothing."""
    found = seconds(text)
    if found <= 0:
        raise click.BadParameter(f"{text!r}: a duration above 0 is expected, such as 30s")
    return found


def rate(text: str) -> float:
    """Requests a second: above 0, at most 100,000."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= MAX_RATE:
        raise click.BadParameter(f"{text!r}: requests a second are expected, above 0 and at most {MAX_RATE:,}")
    return found


def gateway_url(text: str) -> str:
    """A gateway's REST address: ``http://HOST:PORT``."""
    if not text.startswith(("http://", "https://")):
        raise click.BadParameter(f"{text!r}: a URL is expected, such as http://127.0.0.1:8501", param_hint="'--at'")
    return text.rstrip("/")

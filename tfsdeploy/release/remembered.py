"""The release as agents remember it: it stands there although its document is gone or spoiled."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.request import urlopen

from tfsdeploy.release.model import InvalidRelease, Release, decode

PATH = "/v1/release"
"""Where agents of both kinds tell it."""

ANSWER_SECONDS = 2.0


def newest(agents: Iterable[str], fleet: str) -> Release | None:
    """The newest release of a fleet that one of its agents follows; None if none does, or none answers.

    Args:
        agents: base URLs of their status servers.
        fleet: its name.
    """
    with ThreadPoolExecutor(8) as pool:
        told = [found for found in pool.map(_told, agents) if found is not None and found.fleet == fleet]
    return max(told, key=lambda found: found.generation, default=None)


def _told(agent: str) -> Release | None:
    try:
        with urlopen(f"{agent}{PATH}", timeout=ANSWER_SECONDS) as answer:
            return decode(answer.read())
    except (OSError, HTTPException, InvalidRelease):
        return None

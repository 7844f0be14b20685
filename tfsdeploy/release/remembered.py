"""The release as agents remember it: it stands there although its document is gone or spoiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

from tfsdeploy.release.history import Entry
from tfsdeploy.release.model import InvalidRelease, OtherVersion, Release, decode

PATH = "/v1/release"
"""Where agents of both kinds tell it."""

ANSWER_SECONDS = 2.0


def newest(agents: Iterable[str], fleet: str) -> Release | None:
    """The newest release of a fleet that one of its agents follows; None if none does, or none answers.

    Of two lives of the fleet it is the one that more agents follow: one that was cut off may still be in the other.

    Args:
        agents: base URLs of their status servers.
        fleet: its name.

    Raises:
        OtherVersion: an agent of a later version follows one that this one does not read.
    """
    with ThreadPoolExecutor(8) as pool:
        told = [found for found in pool.map(_told, agents) if found is not None and found.fleet == fleet]
    followers = Counter(found.uid for found in told)
    return max(told, key=lambda found: (followers[found.uid], found.generation), default=None)


def numbered(remembered: Release, history: Iterable[Entry]) -> Release:
    """What agents remember, with no lower number than what was lost: agents that know of that follow what comes next.

    Args:
        remembered: what those agents follow that answer.
        history: the entries that are kept; each was written before the generation after it.
    """
    lost = 1 + max((entry.generation for entry in history if entry.uid == remembered.uid), default=0)
    if lost <= remembered.generation:
        return remembered
    command = f"as agents remember generation {remembered.generation}: {remembered.change.command}"
    return replace(remembered, generation=lost, change=replace(remembered.change, command=command))


def _told(agent: str) -> Release | None:
    # Agents are reached directly, or by a port of this machine that leads to them, whatever proxy the user has.
    direct = build_opener(ProxyHandler({}))
    try:
        with direct.open(f"{agent}{PATH}", timeout=ANSWER_SECONDS) as answer:
            return decode(answer.read())
    except OtherVersion:
        raise
    except (OSError, HTTPException, InvalidRelease):
        return None

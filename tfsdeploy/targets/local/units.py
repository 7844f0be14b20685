"""What the supervisor keeps running: units, their processes, and what is observed of them; values and their JSON.

The standard library only: the supervisor reads these, and it is to stay small.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tfsdeploy.processes import Identity

Kind = Literal["replica", "gateway"]

Leaving = Literal["drain", "now"]
"""``drain``: the agent first makes the unit leave, then the main process ends; ``now``: all at once."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of a unit.

    Attributes:
        name: ``agent``, ``server`` or ``envoy``.
        argv: what is run.
        env: variables beside those that the supervisor hands on; never a secret.
        cwd: the folder in which it runs.
        log: the file that gets what it prints.
        gate: it starts when this file exists; None: at once.
        first_restart: seconds before its first restart.
        stop_seconds: how long it may take to end by itself.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    log: str
    gate: str | None = None
    first_restart: float = 0.0
    stop_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class UnitSpec:
    """A replica or a gateway: its processes in the order in which they start, and leave.

    Attributes:
        name: unique in the fleet.
        kind: what it is.
        ordinal: the number in its name, never used twice.
        digest: of its shape.
        shape: flags, programs and environment, an item each; neither its own ports nor versions.
        ports: what each of its ports is for, and its number.
        processes: the agent first.
        leaving: how it is on its way out; None while it is wanted. All else never changes.
    """

    name: str
    kind: Kind
    ordinal: int
    digest: str
    shape: tuple[str, ...]
    ports: Mapping[str, int]
    processes: tuple[ProcessSpec, ...]
    leaving: Leaving | None = None


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """What the supervisor knows of one process.

    Attributes:
        state: ``gated`` (its gate file is not there yet), ``running``, ``backoff`` or ``ended``.
        process: who it is; None unless running.
        restarts: how often it was started again.
        last_exit: how it ended last, in words; None if it never did.
    """

    state: Literal["gated", "running", "backoff", "ended"]
    process: Identity | None = None
    restarts: int = 0
    last_exit: str | None = None


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """What the supervisor knows of one unit; ``gone``: it left, and nothing of it runs."""

    leaving: Leaving | None
    gone: bool
    processes: Mapping[str, ProcessSeen]


@dataclass(frozen=True, slots=True)
class Observed:
    """What the supervisor tells: the boot and the process that say so, and every unit."""

    boot: str
    supervisor: Identity
    units: Mapping[str, UnitSeen] = field(default_factory=dict)


def unit_to_text(unit: UnitSpec) -> str:
    """A unit as its file holds it; equal units give equal text."""
    return json.dumps(asdict(unit), indent=1) + "\n"


def unit_from_text(text: str | bytes) -> UnitSpec:
    """The inverse of `unit_to_text`.

    Raises:
        ValueError: nonsense.
    """
    try:
        plain = json.loads(text)
        processes = tuple(ProcessSpec(**{**row, "argv": tuple(row["argv"])}) for row in plain.pop("processes"))
        return UnitSpec(**{**plain, "shape": tuple(plain["shape"])}, processes=processes)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"unit: {type(error).__name__}: {error}") from error


def observed_to_text(observed: Observed) -> str:
    """What is observed, as ``observed.json`` holds it."""
    return json.dumps(asdict(observed), indent=1) + "\n"


def observed_from_text(text: str | bytes) -> Observed:
    """The inverse of `observed_to_text`.

    Raises:
        ValueError: nonsense.
    """
    try:
        plain = json.loads(text)
        units = {
            name: UnitSeen(
                unit["leaving"], unit["gone"], {key: _process_seen(row) for key, row in unit["processes"].items()}
            )
            for name, unit in plain["units"].items()
        }
        return Observed(plain["boot"], Identity(**plain["supervisor"]), units)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"observed: {type(error).__name__}: {error}") from error


def _process_seen(row: Mapping[str, Any]) -> ProcessSeen:
    process = row["process"]
    return ProcessSeen(**{**row, "process": None if process is None else Identity(**process)})

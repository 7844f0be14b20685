"""Why the agent of a local unit does not answer, in words; pure."""

from __future__ import annotations

from tfsdeploy.targets.local.units import UnitSeen


def trouble(seen: UnitSeen | None) -> str:
    """Why a unit's agent does not answer."""
    if seen is None:
        return "starting"
    ended = [
        f"its {name} ended ({process.last_exit}) and was started again {process.restarts} times"
        for name, process in seen.processes.items()
        if process.last_exit is not None
    ]
    return ", ".join(ended) or "starting"

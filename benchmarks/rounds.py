"""Rounds of planned changes of a fleet under open-loop requests, of which none may fail; the same on every target."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from benchmarks.figure import Figure
from tests.cluster.live import Asked, ClusterFleet
from tests.docker.live import DockerFleet


def losses(
    fleet: ClusterFleet | DockerFleet,
    model: str,
    changes: Callable[[int], Sequence[Callable[[], object]]],
    requests: int,
    rate: float,
    stream_of: Callable[[dict[str, set[int]], float], AbstractContextManager[Asked]] | None = None,
) -> Figure:
    """How many requests fail; each change falls between a promote to version 2 and the rollback to 1.

    Args:
        fleet: serves version 1.
        model: what is asked.
        changes: what is done in one round, by its number from 0; a first round is always gone through whole.
        requests: how many there are to be at least.
        rate: requests a second.
        stream_of: how they are sent; None: as the fleet's scenarios do.
    """
    seconds, rounds = requests / rate, 0
    with (stream_of or fleet.stream)({model: {1}}, rate) as stream:
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            for change in changes(rounds):
                stream.now({model: {1, 2}})
                fleet.run("promote", model, "2", "--yes")
                stream.now({model: {2}})
                change()
                fleet.healthy()
                stream.now({model: {1, 2}})
                fleet.run("rollback", model)
                stream.now({model: {1}})
                if time.monotonic() > begun + seconds and rounds:
                    break
            rounds += 1
    tally = stream.tally
    what = f"failed of {tally['asked']:,} requests, {rounds} rounds of changes of every kind"
    fits = tally["failed"] == 0 and tally["complete"] and tally["asked"] >= requests
    return Figure(what, "0", f"{tally['failed']} (answered {tally['answered']:,})", fits)

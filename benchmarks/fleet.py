"""A whole fleet, measured as a user meets it: commands, switches, losses, and the small figures at rest."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.figure import Figure, percentile
from tests import models
from tests.scenarios.live import LiveFleet, eventually
from tests.scenarios.stream import stream, within_binomial_bounds

REQUESTS = int(os.environ.get("TFSDEPLOY_BENCH_REQUESTS", "100000"))
CANARY_REQUESTS = int(os.environ.get("TFSDEPLOY_BENCH_CANARY", "20000"))
REPEATS = int(os.environ.get("TFSDEPLOY_BENCH_REPEATS", "50"))
RATE = float(os.environ.get("TFSDEPLOY_BENCH_RATE", "250"))
CHANGES = 20
KILLS = 5
MODEL = "m"


@contextmanager
def live(mode: str, **spec: object) -> Iterator[LiveFleet]:
    """Three replicas, two gateways and one model with two versions; ``spec`` are keys of the fleet file."""
    with tempfile.TemporaryDirectory(prefix="tfsdeploy-bench-") as name:
        folder = Path(name)
        for value in (1, 2):
            models.write_constant(folder / "samples" / f"constant-{value}", value)
        fleet = LiveFleet(folder / "fleet", folder / "home", mode, folder / "samples", name="bench")
        fleet.spec |= {"models": {}, **spec}
        try:
            fleet.serve(MODEL, 1, 2)
            yield fleet
        finally:
            fleet.down()


def switches(fleet: LiveFleet, repeats: int = REPEATS) -> list[Figure]:
    """Promote and roll back again and again, then the same with one replica hung."""
    promotes, rollbacks, moves = _rounds(fleet, repeats)
    hung = _hung_rollbacks(fleet, repeats)
    return [
        percentile("rollback, command start to its end", rollbacks, 1.0),
        percentile("the same with one replica hung", hung, 1.0),
        percentile("the switch alone", moves, 0.1),
        percentile("promote, the whole command beyond the load", promotes, 0.5),
    ]


def _rounds(fleet: LiveFleet, repeats: int) -> tuple[list[float], list[float], list[float]]:
    promotes, rollbacks, moves = [], [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        load = float(fleet.promote(MODEL, 2, "--yes").document["seconds"]["load"])
        promotes.append(time.perf_counter() - begun - load)
        begun = time.perf_counter()
        moves.append(float(fleet.rollback(MODEL).document["seconds"]["switch"]))
        rollbacks.append(time.perf_counter() - begun)
    return promotes, rollbacks, moves


def _hung_rollbacks(fleet: LiveFleet, repeats: int) -> list[float]:
    took = []
    for _ in range(repeats):
        fleet.promote(MODEL, 2, "--yes")
        folder = fleet.servers()[0].cwd()
        with fleet.hung(*(part for part in fleet.processes("/replicas/") if part.cwd() == folder)):
            begun = time.perf_counter()
            fleet.rollback(MODEL)
            took.append(time.perf_counter() - begun)
        eventually(lambda: len(fleet.state_of(MODEL, 1)) == 3, "the replica that hung")
    return took


def losses(fleet: LiveFleet, requests: int = REQUESTS) -> Figure:
    """Open-loop requests through promotes and rollbacks and SIGKILLs of replica processes."""
    seconds = requests / RATE
    pause = seconds / (CHANGES + KILLS + 1)
    with stream(fleet, {MODEL: {1}}, rate=RATE, seconds=seconds) as sent:
        begun = time.monotonic()
        for turn in range(CHANGES // 2):
            sent.now(MODEL, {1, 2})
            fleet.promote(MODEL, 2, "--yes")
            sent.now(MODEL, {2})
            _until(begun + pause * (2.4 * turn + 1))
            sent.now(MODEL, {1, 2})
            fleet.rollback(MODEL)
            sent.now(MODEL, {1})
            if turn % 2 == 0:
                fleet.kill(fleet.servers()[turn // 2 % 3])
                fleet.healthy()
            _until(begun + pause * (2.4 * turn + 2))
    tally = sent.tally
    what = f"failed of {tally.asked:,} requests, {CHANGES} changes, {KILLS} SIGKILLs ({fleet.mode})"
    fits = tally.failed == 0 and tally.complete and tally.asked >= requests
    return Figure(what, "0", f"{tally.failed} (answered {tally.answered:,})", fits)


def canary(fleet: LiveFleet, requests: int = CANARY_REQUESTS) -> Figure:
    """A canary's share of requests that name no version."""
    fleet.promote(MODEL, 2, "--weight", "5", "--yes")
    allowed: dict[str, set[int]] = {MODEL: {1, 2}, f"{MODEL}/1": {1}, f"{MODEL}/2": {2}}
    with stream(fleet, allowed, rate=RATE, seconds=len(allowed) * requests / RATE) as sent:
        pass
    fleet.rollback(MODEL)
    answers = sent.answers[MODEL]
    total = sum(answers.values())
    fits = within_binomial_bounds(answers[2], total, 0.05) and sent.tally.failed == 0 and sent.tally.complete
    return Figure("canary 5 %", "99.9 % bounds", f"{100 * answers[2] / total:.2f} % of {total:,}", fits)


def at_rest(fleet: LiveFleet, seconds: float = 10.0) -> list[Figure]:
    """Memory and processor time of the agents while nothing happens."""
    figures = []
    for what, agents in (("replica agent", fleet.replica_agents()), ("gateway agent", fleet.gateway_agents())):
        before = [_cpu(agent) for agent in agents]
        time.sleep(seconds)
        used = max((_cpu(a) - b) / seconds for a, b in zip(agents, before, strict=True))
        memory = max(agent.memory_info().rss for agent in agents) / 2**20
        figures.append(
            Figure(
                f"{what} at rest", "64 MB, 1 %", f"{memory:.0f} MB, {100 * used:.1f} %", memory <= 64 and used <= 0.01
            )
        )
    return figures


def commands(fleet: LiveFleet) -> list[Figure]:
    """How long small commands take, the median of several."""
    saved_model = str(fleet.samples / "constant-1")
    wanted = ((("--version",), 0.15), (("validate",), 0.25), (("inspect", saved_model), 0.4))
    figures = []
    for words, reach in wanted:
        took = statistics.median(_timed(fleet, words) for _ in range(9))
        figures.append(Figure(f"tfsdeploy {words[0]}", f"{reach} s", f"{took:.3f} s", took <= reach))
    return figures


def _timed(fleet: LiveFleet, words: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    argv = [str(Path(sys.executable).with_name("tfsdeploy")), *words]
    subprocess.run(argv, cwd=fleet.folder, env=fleet.environment(), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))

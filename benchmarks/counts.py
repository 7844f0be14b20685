"""The tests that count, with their long counts: killed publishers, mutated fleet files; and the demo by the clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
KILLS = os.environ.get("TFSDEPLOY_BENCH_KILLS", "1000")
FILES = os.environ.get("TFSDEPLOY_BENCH_FILES", "10000")
DEMO_SECONDS = 60


def figures() -> list[Figure]:
    """What the tests say of the long counts, and how long the demo takes."""
    return [
        _counted(
            f"publisher killed at {int(KILLS):,} random points",
            "never half a version",
            "tests/store/test_publish.py::test_killed_at_any_point_nothing_is_half_there",
            TFSDEPLOY_KILLS=KILLS,
        ),
        _counted(
            f"{int(FILES):,} mutated fleet files",
            "loaded, or a position",
            "tests/fleet/test_fuzz.py",
            TFSDEPLOY_FUZZ=FILES,
        ),
        _demo(),
    ]


def _counted(what: str, reach: str, test: str, **counts: str) -> Figure:
    """A test's own verdict; its output is shown if it fails."""
    argv = [sys.executable, "-m", "pytest", "-q", "--timeout", "3600", test]
    code, seconds, output = _run(argv, {**os.environ, **counts})
    if code:
        print(output, flush=True)
    return Figure(what, reach, f"{'so' if code == 0 else 'not so'}, in {seconds:.0f} s", code == 0)


def _demo() -> Figure:
    code, seconds, output = _run([sys.executable, "-m", "examples.demo"], dict(os.environ))
    if code:
        print(output, flush=True)
    reached = code == 0 and seconds <= DEMO_SECONDS
    return Figure("the demo, after set-up", f"{DEMO_SECONDS} s", f"{seconds:.0f} s, exit {code}", reached)


def _run(argv: list[str], environment: dict[str, str]) -> tuple[int, float, str]:
    begun = time.perf_counter()
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, time.perf_counter() - begun, done.stdout

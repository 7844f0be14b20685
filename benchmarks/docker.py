"""A fleet on the test engine, measured as a user meets it: `python -m benchmarks.docker` (needs root)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks.figure import Figure, machine, percentile, table, told
from benchmarks.rounds import losses
from tests.cluster.product import SERVER_IMAGE
from tests.docker.balancer import CONNECTING
from tests.docker.engine import Engine
from tests.docker.live import DockerFleet
from tests.scenarios.live import eventually

REQUESTS = int(os.environ.get("TFSDEPLOY_BENCH_REQUESTS", "50000"))
REPEATS = int(os.environ.get("TFSDEPLOY_BENCH_REPEATS", "50"))
RATE = float(os.environ.get("TFSDEPLOY_BENCH_RATE", "120"))

M = "m"


def main() -> int:
    """Measure and print; the exit code says whether everything was reached."""
    print(machine(), flush=True)
    engine = Engine()
    ours = not engine.is_up()
    subprocess.run([sys.executable, "-m", "tests.docker", "up"], check=True)
    os.environ["DOCKER_HOST"] = engine.host
    try:
        with engine.entered(), tempfile.TemporaryDirectory(prefix="tfsdeploy-bench-") as name:
            figures = _measured(DockerFleet(Path(name), engine, name="bench"))
    finally:
        if ours:
            engine.stop()
    print(f"\n{machine()}\n{table(figures)}")
    return 0 if all(figure.reached for figure in figures) else 1


def _measured(fleet: DockerFleet) -> list[Figure]:
    """Three replicas, two gateways and one model."""
    fleet.spec["models"] = {M: {}}
    fleet.spec["serving"]["replicas"] = 3
    fleet.push(M, 1)
    # While the engine restarts it refuses connections for a moment.
    stream = partial(fleet.stream, retry_on=CONNECTING)
    try:
        return (
            told(_up(fleet))
            + told(_rollbacks(fleet))
            + told([losses(fleet, M, partial(_changes, fleet), REQUESTS, RATE, stream)])
        )
    finally:
        fleet.run("down", "--yes")


def _up(fleet: DockerFleet) -> list[Figure]:
    begun = time.perf_counter()
    fleet.up()
    with fleet.stream({M: {1}}, 20) as requests:
        took = time.perf_counter() - begun
    requests.check()
    server = max(_server_seconds(fleet, name) for name in fleet.containers("kind=replica", "part=server"))
    beyond = took - server
    what = f"up -t docker, 3 replicas, beyond the {server:.1f} s of the slowest model server"
    return [Figure(what, "5 s", f"{beyond:.1f} s", beyond <= 5)]


def _server_seconds(fleet: DockerFleet, container: str) -> float:
    """From the start of a model server's container to its first version, by the engine's clock."""
    began = fleet.engine.docker("inspect", "--format={{.State.StartedAt}}", container).strip()
    argv = ["docker", f"--host={fleet.engine.host}", "logs", "--timestamps", container]
    log = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    lines = [line for line in log.splitlines() if "Successfully loaded" in line]
    assert lines, f"{container} does not say when it has loaded: {log[-2000:]}"
    return (_moment(lines[0].split()[0]) - _moment(began)).total_seconds()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00")


def _rollbacks(fleet: DockerFleet) -> list[Figure]:
    fleet.push(M, 2)
    fleet.run("promote", M, "2")
    took = []
    for turn in range(REPEATS):
        begun = time.perf_counter()
        fleet.run("rollback", M, "--to", str(1 + turn % 2))
        took.append(time.perf_counter() - begun)
    fleet.run("rollback", M, "--to", "1")
    return [percentile("rollback on Docker, command start to its end", took, 1.0)]


def _changes(fleet: DockerFleet, turn: int) -> list[Callable[[], object]]:
    """Kills, another image, and a restart of the daemon (with live-restore)."""

    def kill(kind: str, part: str) -> None:
        victim = fleet.containers(f"kind={kind}", f"part={part}")[0]
        before = fleet.restarts(victim)
        fleet.kill(victim)
        eventually(lambda: fleet.restarts(victim) > before, "a restart")

    def change_image() -> None:
        name = f"{SERVER_IMAGE}-{turn}"
        fleet.engine.docker("tag", SERVER_IMAGE, name)
        fleet.spec["serving"]["image"] = name
        fleet.up()

    def restart_daemon() -> None:
        fleet.engine.kill_daemon()
        fleet.engine.start_daemon()

    return [lambda: kill("replica", "server"), lambda: kill("replica", "agent"), change_image, restart_daemon]


if __name__ == "__main__":
    sys.exit(main())

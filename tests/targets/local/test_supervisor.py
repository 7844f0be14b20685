"""The supervisor keeps processes running, survives its own death, and lets units leave in order."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

from tests.targets.local.conftest import Bench, eventually
from tfsdeploy.processes import is_alive
from tfsdeploy.targets.local.process import marked

SLEEP = "import time; time.sleep(600)"

# Writes its name when asked to end, and takes its time over it.
POLITE = """
import signal, sys, time
def end(*_):
    time.sleep(0.2)
    open("order", "a").write("{name} ")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open("{name}-ready", "w").close()
time.sleep(600)
"""


def test_a_process_that_dies_is_started_again(bench: Bench) -> None:
    bench.unit(bench.process("agent", SLEEP))
    bench.start()
    first = bench.running("agent")
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: (seen := bench.seen("agent")) is not None and seen.restarts == 1, "a restart")
    again = bench.running("agent")
    seen = bench.seen("agent")
    assert again != first
    assert seen is not None
    assert seen.last_exit == "signal SIGKILL"


def test_a_process_that_cannot_start_is_told_with_its_reason(bench: Bench) -> None:
    bench.unit(replace(bench.process("server", ""), argv=("/nowhere/tensorflow_model_server",)))
    bench.start()
    eventually(lambda: (seen := bench.seen("server")) is not None and seen.state == "backoff", "backoff")
    seen = bench.seen("server")
    assert seen is not None
    assert "/nowhere/tensorflow_model_server" in str(seen.last_exit)


def test_a_process_waits_for_its_gate_of_this_life(bench: Bench) -> None:
    gate = bench.folder / "models.config"
    gate.write_text("of an earlier life")
    bench.unit(bench.process("agent", SLEEP), bench.process("server", SLEEP, gate=str(gate)))
    bench.start()
    bench.running("agent")
    seen = bench.seen("server")
    assert seen is not None
    assert seen.state == "gated"
    gate.write_text("written by the agent")
    bench.running("server")


def test_a_killed_supervisor_leaves_processes_that_the_next_one_adopts(bench: Bench) -> None:
    gate = bench.folder / "gate"
    unit = bench.unit(bench.process("agent", SLEEP), bench.process("server", SLEEP, gate=str(gate)))
    bench.start()
    agent = bench.running("agent")
    gate.touch()
    server = bench.running("server")
    bench.kill()
    assert is_alive(agent)
    assert is_alive(server)
    # Nothing that was written down is needed to find them.
    (bench.folder / "supervisor" / "observed.json").unlink()
    bench.start()
    assert (bench.running("agent"), bench.running("server")) == (agent, server)
    assert gate.exists()
    assert sorted(marked(bench.folder)) == sorted([("u/agent", agent), ("u/server", server)])
    os.kill(agent.pid, signal.SIGKILL)
    eventually(lambda: (seen := bench.seen("agent")) is not None and seen.process not in (None, agent), "a restart")
    bench.leave(unit)
    eventually(bench.gone, "the unit leaves")
    assert not is_alive(server)


def test_one_of_two_supervisors_gives_way(bench: Bench) -> None:
    bench.unit(bench.process("agent", SLEEP))
    bench.start()
    first = bench.supervisor
    agent = bench.running("agent")
    command = [sys.executable, "-m", "tfsdeploy.targets.local.supervisor", str(bench.folder)]
    assert subprocess.run(command, check=False).returncode == 0
    assert first is not None
    assert first.poll() is None
    assert list(marked(bench.folder)) == [("u/agent", agent)]


def test_a_unit_leaves_in_order(bench: Bench) -> None:
    unit = bench.unit(
        bench.process("agent", POLITE.format(name="agent")), bench.process("server", POLITE.format(name="server"))
    )
    bench.start()
    eventually(lambda: all((bench.folder / f"{n}-ready").exists() for n in ("agent", "server")), "both are up")
    bench.leave(unit)
    eventually(bench.gone, "the unit leaves")
    assert bench.text("order") == "agent server "
    (bench.folder / "supervisor" / "units" / "u.json").unlink()
    eventually(lambda: (seen := bench.observed()) is not None and not seen.units, "the unit is forgotten")


def test_what_does_not_end_by_itself_is_made_to(bench: Bench) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w').close(); time.sleep(600)"
    unit = bench.unit(bench.process("agent", deaf, stop_seconds=0.2))
    bench.start()
    eventually((bench.folder / "up").exists, "it is up")
    bench.leave(unit)
    eventually(bench.gone, "the unit leaves")
    seen = bench.seen("agent")
    assert seen is not None
    assert seen.last_exit == "signal SIGKILL"


def test_leaving_goes_on_under_the_next_supervisor(bench: Bench) -> None:
    unit = bench.unit(bench.process("agent", SLEEP))
    bench.start()
    agent = bench.running("agent")
    bench.kill()
    bench.leave(unit)
    bench.start()
    eventually(bench.gone, "the unit leaves")
    assert not is_alive(agent)


def test_what_no_unit_asks_for_any_more_is_ended(bench: Bench) -> None:
    bench.unit(bench.process("agent", SLEEP))
    bench.start()
    agent = bench.running("agent")
    bench.kill()
    (bench.folder / "supervisor" / "units" / "u.json").unlink()
    bench.start()
    eventually(lambda: not is_alive(agent), "the stray ends")


def test_nothing_outlives_the_folder(bench: Bench) -> None:
    bench.unit(bench.process("agent", SLEEP))
    bench.start()
    agent = bench.running("agent")
    shutil.rmtree(bench.folder)
    assert bench.supervisor is not None
    bench.supervisor.wait(timeout=60)
    assert not is_alive(agent)


def test_a_unit_file_that_is_nonsense_disturbs_nobody(bench: Bench) -> None:
    bench.unit(bench.process("agent", SLEEP))
    (bench.folder / "supervisor" / "units" / "bad.json").write_text("{")
    bench.start()
    bench.running("agent")
    (bench.folder / "supervisor" / "units" / "bad.json").unlink()
    bench.unit(bench.process("agent", SLEEP), name="v")
    bench.running("agent", "v")


def test_the_end_of_the_supervisor_by_sigterm_is_not_the_end_of_its_processes(bench: Bench) -> None:
    bench.unit(bench.process("agent", SLEEP))
    bench.start()
    agent = bench.running("agent")
    assert bench.supervisor is not None
    bench.supervisor.terminate()
    assert bench.supervisor.wait(timeout=60) == 0
    assert is_alive(agent)

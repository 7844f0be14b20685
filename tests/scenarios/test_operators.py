"""Several operators, Git among them, and commands that are killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from contextlib import suppress

import psutil

from tests.scenarios.live import LiveFleet, eventually
from tests.scenarios.stream import stream


def test_two_operators_on_one_model(fleet: LiveFleet, model: str) -> None:
    """One of them wins; the other is told who, and believes nothing else."""
    fleet.serve(model, 1, 2, 3)
    with stream(fleet, {model: {1, 2, 3}}) as requests:
        commands = {version: fleet.start("promote", model, str(version), "-o", "json") for version in (2, 3)}
        outcome = {version: (command.communicate(), command.returncode) for version, command in commands.items()}
    requests.check()
    codes = sorted(code for _, code in outcome.values())
    assert codes in ([0, 5], [0, 0]), outcome
    winners = [version for version, (_, code) in outcome.items() if code == 0]
    assert any(fleet.effective(model, {version: 100}) for version in winners)


def test_two_operators_on_two_models(fleet: LiveFleet, model: str) -> None:
    """Changes of different models do not get in each other's way."""
    one, other = f"{model}_a", f"{model}_b"
    fleet.serve(one, 1, 2)
    fleet.serve(other, 1, 2)
    with stream(fleet, {one: {1, 2}, other: {1, 2}}) as requests:
        commands = [fleet.start("promote", name, "2", "-o", "json") for name in (one, other)]
        for command in commands:
            out, err = command.communicate(timeout=90)
            assert command.returncode == 0, (out, err)
        for name in (one, other):
            requests.now(name, {2})
        fleet.status()
    requests.check()
    assert fleet.effective(one, {2: 100})
    assert fleet.effective(other, {2: 100})


def test_promote_killed_at_every_step_is_continued(fleet: LiveFleet, model: str) -> None:
    """Killed after any generation that it wrote: the fleet serves on, and the same command continues."""
    fleet.serve(model, 1, 2, 3)
    version = {1: 2, 2: 3, 3: 2}
    main = 1
    with stream(fleet, {model: {1}}) as requests:
        for written in range(1, 5):
            to = version[main]
            requests.now(model, {main, to})
            before = fleet.release()["generation"]
            words = ("promote", model, str(to), "--steps", "30,100", "--interval", "0.3s", "--yes", "-o", "json")
            command = fleet.start(*words)
            eventually(
                lambda before=before, written=written, command=command: (
                    fleet.release()["generation"] >= before + written or command.poll() is not None
                ),
                f"generation {before + written}",
            )
            command.send_signal(signal.SIGKILL)
            command.communicate()
            fleet.run(*words)
            requests.now(model, {to})
            assert fleet.effective(model, {to: 100})
            main = to
    requests.check()


def test_promote_killed_at_any_moment_is_continued(fleet: LiveFleet, model: str) -> None:
    """Killed between two steps, or within one: the fleet serves on, and the same command continues."""
    fleet.serve(model, 1, 2)
    moments = random.Random(11)
    with stream(fleet, {model: {1}}) as requests:
        for turn in range(6):
            to = 2 - turn % 2
            requests.now(model, {1, 2})
            words = ("promote", model, str(to), "--steps", "30,100", "--interval", "0.1s", "--yes", "-o", "json")
            command = fleet.start(*words)
            with suppress(subprocess.TimeoutExpired):
                command.wait(moments.uniform(0.1, 1.0))
            command.kill()
            command.communicate()
            fleet.run(*words)
            requests.now(model, {to})
            assert fleet.effective(model, {to: 100})
    requests.check()


def test_interrupted_promote_says_how_to_go_on(fleet: LiveFleet, model: str) -> None:
    """Ctrl-C stops where it is, exit 130, and the hint names both ways."""
    fleet.serve(model, 1, 2)
    command = fleet.start("promote", model, "2", "--steps", "10,100", "--interval", "60s", "-o", "json")
    eventually(lambda: fleet.effective(model, {1: 90, 2: 10}), "the first step")
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130, (out, err)
    assert "rollback" in out + err
    assert fleet.effective(model, {1: 90, 2: 10})
    fleet.rollback(model)
    assert fleet.effective(model, {1: 100})


def test_rollback_wins_over_a_promote(fleet: LiveFleet, model: str) -> None:
    """A rollback ends the rollout; the promote notices and says that it was taken over."""
    fleet.serve(model, 1, 2)
    command = fleet.start("promote", model, "2", "--steps", "10,100", "--interval", "60s", "-o", "json")
    eventually(lambda: fleet.effective(model, {1: 90, 2: 10}), "the first step")
    fleet.rollback(model)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 5, (out, err)
    assert fleet.effective(model, {1: 100})


def test_emergency_rollback_stands_until_git_changes(fleet: LiveFleet, model: str) -> None:
    """What Git pinned is folded once; re-applying it changes nothing, a new pin does."""
    fleet.push(model, 2)
    fleet.push(model, 3)
    fleet.serve(model, 1, pin={"version": 1})
    with stream(fleet, {model: {1, 2, 3}}) as requests:
        fleet.spec["models"][model] = {"version": 2}
        fleet.up()
        eventually(lambda: fleet.effective(model, {2: 100}), "the pinned version")
        fleet.rollback(model, "--no-write")
        requests.now(model, {1})
        assert fleet.effective(model, {1: 100})
        again = fleet.up()
        assert fleet.effective(model, {1: 100})
        assert model in again.out + again.err
        shown = fleet.run("diff", "-o", "json", code=3).document
        assert shown["changes"] == []
        assert any(f"model {model}: the fleet file pins version 2" in line for line in shown["stays"])
        requests.now(model, {1, 3})
        fleet.spec["models"][model] = {"version": 3}
        fleet.up()
        eventually(lambda: fleet.effective(model, {3: 100}), "the new pin")
    requests.check()


def test_promote_of_a_pinned_model_edits_the_file(fleet: LiveFleet, model: str) -> None:
    """The file says what is live afterwards, and the next `up` has nothing to do."""
    fleet.push(model, 2)
    fleet.serve(model, 1, pin={"version": 1})
    fleet.promote(model, 2)
    assert f"{model}:\n    version: 2" in fleet.file.read_text()
    fleet.spec["models"][model]["version"] = 2
    before = fleet.release()["generation"]
    fleet.up()
    assert fleet.release()["generation"] == before


def test_pins_without_a_command_are_folded_by_a_gateway(fleet: LiveFleet, model: str) -> None:
    """New pins that only reach the fleet (as Git does it) go through the same barrier."""
    fleet.push(model, 2)
    fleet.serve(model, 1, pin={"version": 1})
    pins = fleet.state / "pins.json"
    with stream(fleet, {model: {1, 2}}) as requests:
        document = json.loads(pins.read_text())
        document["models"][model]["version"] = 2
        fresh = pins.with_name(".pins.new")
        fresh.write_text(json.dumps(document))
        fresh.replace(pins)
        eventually(lambda: fleet.effective(model, {2: 100}), "the folded pin")
    requests.check()
    assert fleet.run("history", "-o", "json").document["history"][0]["command"].startswith("pins ")
    fleet.spec["models"][model] = {"version": 2}
    fleet.up()


def test_nothing_of_a_command_stays_behind(fleet: LiveFleet) -> None:
    """Commands leave no process behind."""
    fleet.status()
    fleet.run("history")
    assert not [p for p in psutil.Process().children(recursive=True) if "tfsdeploy status" in " ".join(p.cmdline())]

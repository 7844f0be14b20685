"""The shell that stands between Kubernetes and the model server, with a real shell."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.render.kubernetes.goldens import NAMES, fleet_file
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.gateway.shape import envoy_command
from tfsdeploy.render import quantities
from tfsdeploy.render.images import full_image
from tfsdeploy.render.kubernetes import containers

SAYS_READY = "import time; print('ready', flush=True); time.sleep(60)"
DRAINS = (
    "import signal, sys; print('ready', flush=True); signal.sigwait([signal.SIGTERM]); print('drained'); sys.exit(3)"
)
BLOCKED = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); {DRAINS}"


def shell(program: str) -> list[str]:
    return [*containers.SERVER[:3], sys.executable, "-c", program]


@pytest.mark.parametrize("code", [0, 7])
def test_the_server_s_exit_code_is_the_container_s(code: int) -> None:
    assert subprocess.run(shell(f"import sys; sys.exit({code})"), check=False).returncode == code


@pytest.mark.parametrize(
    ("program", "code", "said"), [(SAYS_READY, 128 + signal.SIGTERM, ""), (BLOCKED, 3, "drained\n")]
)
def test_a_signal_ends_the_server_and_then_the_container(program: str, code: int, said: str) -> None:
    process = subprocess.Popen(shell(program), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(timeout=30) == code
        assert process.stdout.read() == said


def test_envoy_is_told_the_same_as_on_this_machine() -> None:
    from tfsdeploy.gateway.shape import GatewayShape

    shape = GatewayShape(drain_seconds=containers.GATEWAY_DRAIN_SECONDS)
    assert envoy_command(shape)[1:] == list(containers.envoy())


@pytest.mark.parametrize("name", NAMES)
def test_agents_know_every_flag_that_they_are_given(name: str) -> None:
    from tfsdeploy.cli.agent import command
    from tfsdeploy.cli.main import cli

    # Click remembers what --help is called in the first context that a command gets.
    parent = click.Context(cli, **cli.context_settings)
    fleet = load_fleet(fleet_file(name))
    for args in (containers.replica_agent(fleet), containers.gateway_agent(fleet), containers.pins_job(fleet)):
        agent = command.get_command(None, args[1])  # type: ignore[arg-type]
        assert agent is not None
        agent.make_context("agent", [arg.replace("$(POD_IP)", "10.0.0.1") for arg in args[2:]], parent)


@pytest.mark.parametrize(
    ("image", "registry", "full"),
    [
        ("tensorflow/serving:2.20.0", None, "tensorflow/serving:2.20.0"),
        ("tensorflow/serving:2.20.0", "registry.example/m", "registry.example/m/tensorflow/serving:2.20.0"),
        ("busybox", "registry.example", "registry.example/busybox"),
        ("busybox:1.0", "registry.example", "registry.example/busybox:1.0"),
        ("other.example/team/x", "registry.example", "other.example/team/x"),
        ("localhost/x", "registry.example", "localhost/x"),
        ("host:5000/x", "registry.example", "host:5000/x"),
    ],
)
def test_images_come_from_the_registry_unless_they_name_one(image: str, registry: str | None, full: str) -> None:
    assert full_image(image, registry) == full


@pytest.mark.parametrize(("cpu", "cores"), [("2", 2.0), ("500m", 0.5), ("1.5", 1.5)])
def test_cores(cpu: str, cores: float) -> None:
    assert quantities.cores_of(cpu) == cores


@pytest.mark.parametrize(
    ("memory", "bytes_"), [("1Gi", 2**30), ("512Mi", 2**29), ("1.5G", 1.5e9), ("1048576", 2**20), ("128.384k", 128384)]
)
def test_bytes(memory: str, bytes_: float) -> None:
    assert quantities.bytes_of(memory) == bytes_


def test_waiting_to_leave_needs_only_a_shell(tmp_path: Path) -> None:
    script = containers.LEAVE[2].replace(containers.RUN, str(tmp_path))
    waiting = subprocess.Popen(["/bin/sh", "-c", f"echo began; {script}"], stdout=subprocess.PIPE, text=True)
    with waiting:
        assert waiting.stdout is not None
        waiting.stdout.readline()
        assert waiting.poll() is None
        (tmp_path / "left").touch()
        assert waiting.wait(timeout=30) == 0
    assert (tmp_path / "leave").exists()
    stay = containers.STAY[2].replace(containers.RUN, str(tmp_path))
    subprocess.run(["/bin/sh", "-c", stay], check=True)
    assert not list(tmp_path.iterdir())

"""Who owns a rollout, and whether that process still lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tfsdeploy.deploy.owner import is_alive, this_process

SAY_WHO = "from tfsdeploy.deploy.owner import this_process; print(this_process(), flush=True); input()"


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SAY_WHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as p:
        assert p.stdout is not None
        yield p, p.stdout.readline().strip()
        p.kill()


def test_a_process_that_runs_is_alive_until_it_ends(other: tuple[subprocess.Popen[str], str]) -> None:
    process, owner = other
    assert is_alive(owner)
    process.kill()
    process.wait()
    assert not is_alive(owner)


def test_what_cannot_be_known_is_not_alive(other: tuple[subprocess.Popen[str], str]) -> None:
    _, owner = other
    assert not is_alive(this_process()), "one's own rollout is no obstacle"
    assert not is_alive(owner.replace("@", "@not-"))
    assert not is_alive(owner.rpartition(" ")[0] + " another-boot")
    assert not is_alive(owner.replace("start ", "start 1"))
    assert not is_alive("somebody")

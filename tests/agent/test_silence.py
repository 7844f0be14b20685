"""How long a process may say nothing before a file asks for its new start."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tfsdeploy.agent.silence import HUNG_FILE, HUNG_SECONDS, Silence
from tfsdeploy.render.kubernetes.containers import ALIVE


def test_only_silence_that_lasts_is_told(tmp_path: Path) -> None:
    now, file = 1000.0, tmp_path / HUNG_FILE
    silence = Silence(tmp_path, lambda: now)
    silence.unheard()
    now += HUNG_SECONDS - 1
    silence.unheard()
    assert not file.exists()
    now += 2
    silence.unheard()
    assert file.exists()
    silence.heard()
    assert not file.exists()
    now += HUNG_SECONDS + 1
    silence.unheard()
    assert not file.exists()


def test_what_an_agent_before_this_one_said_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / HUNG_FILE).touch()
    Silence(tmp_path).heard()
    assert not (tmp_path / HUNG_FILE).exists()
    Silence(tmp_path / "gone").heard()


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_probe_believes_only_what_is_renewed(tmp_path: Path, shell: str) -> None:
    """The liveness probe's own command, in the shells that images have; an agent that is gone renews nothing."""
    now = 1000.0
    silence = Silence(tmp_path, lambda: now)

    def passes() -> bool:
        _, *words, _ = ALIVE
        done = subprocess.run([shell, *words, str(tmp_path)], check=False).returncode == 0
        # As if it had been a while ago: the clock of files is coarse.
        os.utime(tmp_path / "looked", ns=(0, (tmp_path / "looked").stat().st_mtime_ns - 10**9))
        return done

    assert passes()
    silence.unheard()
    now += HUNG_SECONDS + 1
    silence.unheard()
    assert not passes()
    silence.unheard()
    assert not passes()
    os.utime(tmp_path / HUNG_FILE, (1, 1))
    assert passes()
    silence.unheard()
    assert not passes()
    silence.heard()
    assert passes()

"""How long a process may say nothing before a file asks for its new start."""

from __future__ import annotations

from pathlib import Path

from tfsdeploy.agent.silence import HUNG_FILE, HUNG_SECONDS, Silence


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

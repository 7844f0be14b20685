"""How long a process may say nothing before it is to be started anew."""

from __future__ import annotations

from tfsdeploy.agent.silence import HUNG_SECONDS, Silence


def test_only_silence_that_lasts_is_a_death() -> None:
    now = 1000.0
    silence = Silence(lambda: now)
    silence.unheard()
    now += HUNG_SECONDS - 1
    silence.unheard()
    assert not silence.is_death
    now += 2
    assert silence.is_death
    silence.heard()
    assert not silence.is_death
    silence.unheard()
    now += 1
    assert not silence.is_death

"""What target and supervisor write to each other comes back as it was."""

from __future__ import annotations

import pytest

from tfsdeploy.processes import Identity
from tfsdeploy.targets.local.units import (
    Observed,
    ProcessSeen,
    ProcessSpec,
    UnitSeen,
    UnitSpec,
    observed_from_text,
    observed_to_text,
    unit_from_text,
    unit_to_text,
)

UNIT = UnitSpec(
    "shop-serving-1",
    "replica",
    1,
    "sha256:1",
    ("server --a=b",),
    {"agent": 20001},
    (ProcessSpec("server", ("x", "--a=b"), {"A": "b"}, "/tmp", "/tmp/log", gate="/tmp/gate", first_restart=0.25),),
    leaving="drain",
)
OBSERVED = Observed(
    "boot",
    Identity(1, 2),
    {
        "shop-serving-1": UnitSeen(
            None,
            False,
            {"agent": ProcessSeen("running", Identity(3, 4), 1, "exit 1"), "server": ProcessSeen("gated")},
        )
    },
)


def test_round_trips() -> None:
    assert unit_from_text(unit_to_text(UNIT)) == UNIT
    assert observed_from_text(observed_to_text(OBSERVED)) == OBSERVED


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"processes": [1]}', '{"boot": 1, "units": {"a": 1}}'])
def test_nonsense_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        unit_from_text(text)
    with pytest.raises(ValueError):
        observed_from_text(text)

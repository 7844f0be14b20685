"""What is started, replaced and removed: the cases of tests/cases/plan, and what holds for every plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.targets.plan import NAMES, Plan, Remove, Replace, Start, Unit, Wanted, make_plan

CASES = sorted((Path(__file__).parents[1] / "cases" / "plan").glob("*.yaml"))


def plan_of(case: dict[str, Any]) -> Plan:
    units = [Unit(name=NAMES[row["kind"]]("shop", row["ordinal"]), **row) for row in case["units"]]
    wanted = [Wanted(kind, **row) for kind, row in case["wanted"].items()]
    used = case.get("used", {"replica": 0, "gateway": 0})
    return make_plan("shop", wanted, units, used=used, supervised=case.get("supervised", True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case(case: Path) -> None:
    text = yaml.safe_load(case.read_text())
    assert str(plan_of(text)) == text["plan"]


UNITS = st.lists(
    st.builds(
        lambda ordinal, digest, leaving: Unit(
            NAMES["replica"]("shop", ordinal), "replica", ordinal, digest, (), leaving
        ),
        st.integers(1, 20),
        st.sampled_from("ab"),
        st.booleans(),
    ),
    unique_by=lambda unit: unit.ordinal,
    max_size=6,
)


@given(UNITS, st.integers(1, 5))
def test_carried_out_a_plan_gives_what_is_wanted_and_never_fewer_meanwhile(units: list[Unit], count: int) -> None:
    wanted = Wanted("replica", count, "b")
    plan = make_plan("shop", [wanted], units, used={"replica": 20})
    there = {unit.name: unit for unit in units if not unit.leaving}
    least = min(len(there), count)
    for step in plan.steps:
        assert not isinstance(step, Start | Replace) or step.ordinal > 20
        match step:
            case Start():
                there[step.name] = Unit(step.name, "replica", step.ordinal, "b")
            case Replace():
                there[step.name] = Unit(step.name, "replica", step.ordinal, "b")
                del there[step.old]
            case Remove():
                there.pop(step.name, None)
        assert len(there) >= least
    assert len(there) == count
    assert {unit.digest for unit in there.values()} == {"b"}
    assert make_plan("shop", [wanted], list(there.values()), used={"replica": 40}).steps == ()

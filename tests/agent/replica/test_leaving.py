"""Who still uses what: acknowledgements, leases and drain times, on a clock of the test's own."""

from __future__ import annotations

from tfsdeploy.agent.replica.leaving import START_SECONDS, Acknowledgements
from tfsdeploy.agent.status import GONE


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def uses(clock: Clock, **given: object) -> Acknowledgements:
    """An agent that has been there for a while."""
    made = Acknowledgements(clock, lease=60.0, drain=1.0, **given)  # type: ignore[arg-type]
    clock.now += START_SECONDS
    return made


def test_what_every_gateway_has_acknowledged_is_drained_after_the_drain_time() -> None:
    clock = Clock()
    made = uses(clock)
    made.published("a", [])
    for gateway in ("g1", "g2"):
        made.heard(gateway, "a")
    made.published("b", ["m/1"])
    made.heard("g1", "b")
    clock.now += 5
    assert not made.drained()
    made.heard("g2", "b")
    assert not made.drained(), "requests may be in flight"
    clock.now += 1
    assert made.drained() == {"m/1"}


def test_a_later_document_acknowledges_too() -> None:
    clock = Clock()
    made = uses(clock)
    made.heard("g1", "")
    made.published("a", ["m/1"])
    made.published("b", ["m/1", "m/2"])
    made.published("c", ["m/1", "m/2"])
    made.heard("g1", "c")
    made.drained()
    clock.now += 1
    assert made.drained() == {"m/1", "m/2"}


def test_an_earlier_document_does_not() -> None:
    clock = Clock()
    made = uses(clock)
    made.published("a", [])
    made.published("b", ["m/1"])
    made.heard("g1", "a")
    clock.now += 30
    assert not made.drained()


def test_the_same_bytes_again_are_another_document() -> None:
    clock = Clock()
    made = uses(clock)
    made.published("a", ["m/1"])
    made.heard("g1", "a")
    made.published("b", [])
    made.heard("g1", "b")
    made.published("a", ["m/1"])
    clock.now += 30
    assert not made.drained()
    made.heard("g1", "a")
    made.drained()
    clock.now += 1
    assert made.drained() == {"m/1"}


def test_a_gateway_beyond_its_lease_is_not_waited_for() -> None:
    clock = Clock()
    made = uses(clock)
    made.heard("g1", "")
    made.published("a", ["m/1"])
    clock.now += 59
    assert not made.drained()
    clock.now += 1
    assert not made.drained()
    clock.now += 1
    assert made.drained() == {"m/1"}


def test_a_gateway_that_comes_while_something_drains_is_waited_for() -> None:
    clock = Clock()
    made = uses(clock)
    made.published("a", ["m/1"])
    made.drained()
    made.heard("g1", "")
    clock.now += 1
    assert not made.drained()


def test_a_gateway_that_said_farewell_is_not_waited_for() -> None:
    clock = Clock()
    made = uses(clock)
    made.heard("g1", "")
    made.published("a", ["m/1"])
    made.heard("g1", GONE)
    made.drained()
    clock.now += 1
    assert made.drained() == {"m/1"}
    assert made.gateways() == frozenset()


def test_an_agent_that_has_just_started_waits_for_gateways_to_be_heard() -> None:
    clock = Clock()
    made = Acknowledgements(clock, lease=60.0, drain=1.0)
    made.published("a", ["m/1"])
    clock.now += START_SECONDS - 0.1
    assert not made.drained()


def test_gateways_of_the_agent_before_get_a_lease_to_be_heard() -> None:
    clock = Clock()
    made = uses(clock, known=["g1"])
    assert made.gateways() == {"g1"}
    made.published("a", ["m/1"])
    clock.now += 30
    assert not made.drained()
    made.heard("g1", "a")
    made.drained()
    clock.now += 1
    assert made.drained() == {"m/1"}

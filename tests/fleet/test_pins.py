"""Pins: what is handed to a fleet, and the digest by which it knows them again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.fleet.pins import Canary, Pin, Pins
from tfsdeploy.names import MAX_VERSION

versions = st.integers(1, MAX_VERSION)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,10}", fullmatch=True)
pins = st.builds(
    Pins,
    st.dictionaries(
        names,
        st.builds(
            Pin,
            versions,
            st.none() | st.builds(Canary, versions, st.integers(1, 99)),
            st.dictionaries(names, versions, max_size=3),
        ),
        max_size=5,
    ),
)


@given(pins)
def test_pins_survive_json(given_pins: Pins) -> None:
    again = Pins.from_json(json.loads(json.dumps(given_pins.to_json())))
    assert again == given_pins
    assert again.digest == given_pins.digest


@given(pins, st.randoms(use_true_random=False))
def test_the_order_does_not_change_the_digest(given_pins: Pins, random: Any) -> None:
    items = list(given_pins.models.items())
    random.shuffle(items)
    assert Pins(dict(items)).digest == given_pins.digest


def test_the_digest_stays_what_it_is() -> None:
    """A release remembers it: another canonical form would fold the same pins a second time."""
    one = Pins({"ranker": Pin(7, Canary(8, 10), {"stable": 7})})
    assert one.digest == "sha256:562cf5262245cbf14c92ea132d7669328fcc3582725d15dd5f0a8142c1731d86"


@given(pins, versions)
def test_another_pin_is_another_digest(given_pins: Pins, version: int) -> None:
    changed = Pins({**given_pins.models, "m": Pin(version)})
    assert (changed.digest == given_pins.digest) == (changed == given_pins)


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        (None, "pins: an object is expected"),
        ({}, "models: an object is expected"),
        ({"models": {"../x": {"version": 1}}}, "not a model name"),
        ({"models": {"m": 7}}, "models.m: an object"),
        ({"models": {"m": {}}}, "models.m.version: an integer"),
        ({"models": {"m": {"version": "7"}}}, "models.m.version: an integer"),
        ({"models": {"m": {"version": True}}}, "models.m.version: an integer"),
        ({"models": {"m": {"version": 0}}}, "models.m.version: an integer"),
        ({"models": {"m": {"version": MAX_VERSION + 1}}}, "models.m.version: an integer"),
        ({"models": {"m": {"version": 7, "canary": {"version": 8, "weight": 100}}}}, "models.m.canary.weight"),
        ({"models": {"m": {"version": 7, "labels": {"a/b": 7}}}}, "not a label name"),
        ({"models": {"m": {"version": 7, "labels": {"a": 1.5}}}}, "models.m.labels.a"),
    ],
)
def test_nonsense_is_refused_with_its_place(plain: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Pins.from_json(plain)


def test_keys_of_a_later_version_are_ignored() -> None:
    assert Pins.from_json({"models": {"m": {"version": 7, "mood": "good"}}, "more": 1}) == Pins({"m": Pin(7)})

"""What every target owes: one story, from nothing to nothing. The tests of this file run in their order."""

from __future__ import annotations

import json
from urllib.request import Request, urlopen

import pytest

from tests.contract.place import Place
from tfsdeploy.errors import Busy, UsageError
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.protocol.agents import decode_gateway, decode_replica
from tfsdeploy.release.conflict import Conflict
from tfsdeploy.release.update import Author, change_model, present
from tfsdeploy.report import Silent


def ask(address: str, path: str, body: bytes | None = None) -> bytes:
    with urlopen(Request(address + path, data=body), timeout=60) as answer:
        found: bytes = answer.read()
    return found


def test_nothing_is_there_at_first(place: Place) -> None:
    assert place.target.settings() is None
    assert place.target.releases().read() is None
    assert (place.target.replicas(), place.target.gateways()) == ((), ())
    assert place.target.changes(place.fleet())
    place.target.remove(Silent(), timeout=10)


def test_up_brings_what_the_file_says(place: Place) -> None:
    place.up()
    settings = place.target.settings()
    assert settings is not None
    assert (settings.fleet, settings.target, settings.replicas) == ("contract", place.target.kind, 1)
    (replica,), (gateway,) = place.target.replicas(), place.target.gateways()
    assert decode_replica(ask(replica.status, "/v1/status")).ready
    assert decode_gateway(ask(gateway.status, "/v1/status")).ready
    answer = ask(gateway.rest, "/v1/models/half_plus_two:predict", b'{"instances": [1.0, 2.0, 5.0]}')
    assert json.loads(answer) == {"predictions": [2.5, 3.0, 4.5]}


def test_what_is_as_wanted_is_left_alone(place: Place) -> None:
    before = (place.target.replicas(), place.target.gateways())
    assert place.target.changes(place.fleet()) == ()
    place.up()
    assert (place.target.replicas(), place.target.gateways()) == before


def test_a_release_is_swapped_only_from_what_it_was_made_of(place: Place) -> None:
    releases = place.target.releases()
    stale = present(releases)
    change_model(releases, "half_plus_two", lambda model: model, Author("ann@desk", "nothing"))
    assert present(releases) == stale
    releases.swap(stale.next({}, Author("ann@desk", "first").change()), stale)
    with pytest.raises(Conflict):
        releases.swap(stale.next({}, Author("bob@desk", "second").change()), stale)
    assert releases.history()[0].change.command == "first"


def test_pins_are_handed_over(place: Place) -> None:
    before = place.target.pins()
    pins = Pins({"half_plus_two": Pin(1)})
    place.target.write_pins(pins)
    assert place.target.pins() == pins
    place.target.write_pins(before or Pins({}))


def test_one_changes_the_shape_at_a_time(place: Place) -> None:
    fleet, report = place.fleet(), Silent()
    with place.target.exclusive(fleet, report), pytest.raises(Busy), place.target.exclusive(fleet, report):
        pass


def test_growing_keeps_what_is_there(place: Place) -> None:
    before = place.target.replicas()
    assert any("replica" in line and "2" in line for line in place.target.changes(place.fleet(2)))
    place.up(2)
    assert len(place.target.replicas()) == 2
    assert set(before) <= set(place.target.replicas())
    both = set(place.target.replicas())
    place.up(1)
    (stays,) = place.target.replicas()
    assert stays in both


def test_logs_are_there_by_name(place: Place) -> None:
    (replica,) = place.target.replicas()
    assert list(place.target.logs((replica.name,), follow=False, tail=5))
    with pytest.raises(UsageError):
        list(place.target.logs(("nobody",), follow=False, tail=5))


def test_removing_leaves_nothing_but_the_store(place: Place) -> None:
    place.target.remove(Silent(), timeout=60)
    assert place.target.settings() is None
    assert (place.target.replicas(), place.target.gateways()) == ((), ())
    assert (place.folder / "models" / "half_plus_two" / "1" / "saved_model.pb").is_file()
    place.target.remove(Silent(), timeout=10)

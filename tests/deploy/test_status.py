"""What `status` shows, from what replicas and gateways say; and what it calls trouble."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfsdeploy.cli.picture import status_text
from tfsdeploy.deploy.status import status_document, troubles, waiting
from tfsdeploy.deploy.watch import View
from tfsdeploy.fleet.model import Canary
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.protocol.agents import GatewayModel, GatewayStatus, ReplicaStatus, State, VersionStatus
from tfsdeploy.release.model import Change, ModelRelease, Release
from tfsdeploy.release.transitions import add
from tfsdeploy.targets.base import GatewayAddress, Settings

SETTINGS = Settings("shop", "local", "/f/fleet.yaml", "file:///m", {}, 1, 1, 1)
RELEASE = Release("shop", "u", 3, Change("a@b", "now", "", "up"), models={"ranker": add(7, None)})
REPLICA = ReplicaStatus(
    "r1", 3, True, False, "127.0.0.1:1", "127.0.0.1:2", {"ranker": {7: VersionStatus(State.AVAILABLE)}}
)
GATEWAY = GatewayStatus("g1", 3, True, False, {"ranker": GatewayModel(3, {7: 100})})


def failed(words: str) -> ReplicaStatus:
    return replace(REPLICA, models={"ranker": {7: VersionStatus(State.FAILED, error=words)}})


@pytest.mark.parametrize(
    ("view", "found"),
    [
        (View({"r1": REPLICA}, {"g1": GATEWAY}), []),
        (View({"r1": REPLICA}, {"g1": None}), ["gateway g1: does not answer"]),
        (View({"r1": REPLICA}, {"g1": replace(GATEWAY, ready=False)}), ["gateway g1: not ready"]),
        (View({"r1": None}, {"g1": GATEWAY}), ["replica r1: does not answer"]),
        (View({}, {"g1": GATEWAY}), ["0 of 1 replicas are there; `tfsdeploy up` brings them back"]),
        (View({"r1": REPLICA}, {}), ["no gateway is there; `tfsdeploy up` brings it back"]),
        (View({"r1": failed("boom")}, {"g1": GATEWAY}), ["replica r1: ranker 7 FAILED: boom"]),
        (
            View({"r1": replace(REPLICA, generation=2)}, {"g1": GATEWAY}),
            ["replica r1: follows generation 2, not 3 yet"],
        ),
        (
            View(
                {"r1": REPLICA},
                {"g1": replace(GATEWAY, models={"ranker": GatewayModel(2, {6: 100}, {"r1": "LOADING"})})},
            ),
            ["model ranker: g1 is behind: r1: LOADING"],
        ),
        (View({"r1": REPLICA, "r2": replace(REPLICA, leaving=True, ready=False)}, {"g1": GATEWAY}), []),
    ],
)
def test_troubles(view: View, found: list[str]) -> None:
    assert troubles(SETTINGS, RELEASE, view) == found


def test_models_without_a_version_wait() -> None:
    begun = replace(RELEASE, models={**RELEASE.models, "begun": ModelRelease({}, {})})
    assert waiting(begun, ["ranker", "new", "begun"]) == ["begun", "new"]
    assert waiting(None, ["ranker"]) == ["ranker"]
    assert status_document(SETTINGS, begun, View({}, {}), [])["waiting"] == []


def test_pins_that_are_not_live_are_told_and_are_no_trouble() -> None:
    pins = Pins({"ranker": Pin(8, Canary(9, 10)), "new": Pin(1)})
    (words,) = status_document(SETTINGS, RELEASE, View({}, {}), [], pins=pins)["stays"]
    assert words == (
        "model ranker: pinned is version 8 with 10 % to 9, and traffic 7:100 is live; the gateways have yet to follow"
    )
    folded = status_document(SETTINGS, replace(RELEASE, pins=pins.digest), View({}, {}), [], pins=pins)
    assert "it stays so until other pins come" in folded["stays"][0]
    assert "it stays so" in status_text(folded)
    same = Pins({"ranker": Pin(7)})
    assert status_document(SETTINGS, RELEASE, View({}, {}), [], pins=same)["stays"] == []


def test_what_does_not_answer_has_every_field() -> None:
    address = GatewayAddress("g1", "http://127.0.0.1:9", "http://127.0.0.1:8501", "127.0.0.1:8500")
    document = status_document(SETTINGS, RELEASE, View({"r1": None}, {"g1": None}), [address])
    assert document["replicas"] == [
        {"name": "r1", "rest": None, "grpc": None, "generation": None, "ready": False, "models": {}}
    ]
    assert document["gateways"][0] == {
        "name": "g1", "rest": "http://127.0.0.1:8501", "grpc": "127.0.0.1:8500", "ready": False, "models": {}
    }  # fmt: skip
    assert document["models"]["ranker"]["traffic"] == {"7": 100}
    assert not document["healthy"]


def test_a_fleet_that_helm_has_made_says_so() -> None:
    owned = replace(SETTINGS, owner="Helm release shop of namespace prod")
    document = status_document(owned, RELEASE, View({"r1": REPLICA}, {}), [])
    assert document["owner"] == owned.owner
    assert f"its shape is owned by {owned.owner}\n" in status_text(document)
    assert "`tfsdeploy up`" not in troubles(owned, None, View({}, {}))[0]

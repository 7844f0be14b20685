"""What is told of pinned versions before anybody folds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.saved_models import write_saved_model
from tests.deploy.test_checks import Lite
from tfsdeploy.deploy.foresight import refusals
from tfsdeploy.deploy.room import SERVER_BYTES
from tfsdeploy.deploy.stores import StoredModels
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.release.model import Change, ModelRelease, Release
from tfsdeploy.release.transitions import add
from tfsdeploy.targets.settings import settings_of

SERVES_1 = {"ranker": add(1, None)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StoredModels:
    """Version 2 is like 1, and 3 answers by another name."""
    folder = tmp_path_factory.mktemp("store")
    made = StoredModels((folder / "models").as_uri())
    for version, output in ((1, "y"), (2, "y"), (3, "z")):
        write_saved_model(folder / str(version), version, output)
        made.store.publish("ranker", folder / str(version), version)
    return made


@pytest.mark.parametrize(
    ("pin", "live", "more", "found"),
    [
        ("{}", SERVES_1, 1 << 30, {}),
        ("{version: 1}", SERVES_1, 0, {}),
        ("{version: 2}", SERVES_1, 1 << 30, {}),
        ("{version: 2}", SERVES_1, 0, {"version": "does not fit"}),
        ("{version: 3}", SERVES_1, 1 << 30, {"version": "would break clients of version 1"}),
        ("{version: 3}", {}, 1 << 30, {}),
        ("{version: 1, canary: {version: 3, weight: 5}}", {}, 1 << 30, {"canary.version": "clients of version 1"}),
        ("{version: 1, canary: {version: 2, weight: 5}}", {}, 1 << 30, {}),
        ("{version: 9}", SERVES_1, 1 << 30, {"version": "no committed version 9"}),
    ],
)
def test_what_a_promote_would_refuse(
    store: StoredModels, pin: str, live: dict[str, ModelRelease], more: int, found: dict[str, str]
) -> None:
    memory = (SERVER_BYTES + more) >> 20
    fleet = parse_fleet(
        f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: {store.url}\n"
        f"serving: {{resources: {{memory: {memory}Mi}}}}\nmodels: {{ranker: {pin}}}\n",
        str(Path("fleet.yaml")),
    )
    release = Release("shop", "u", 1, Change("a", "now", "", "up"), None, live)
    told = dict(refusals(fleet, release, store, settings_of(fleet, "kubernetes", "")))
    assert {path.removeprefix("models.ranker."): True for path in told} == dict.fromkeys(found, True)
    for key, words in found.items():
        assert words in told[f"models.ranker.{key}"]


def test_a_tflite_model_alone_is_told_where_the_fleet_loads_none(store: StoredModels) -> None:
    text = (
        f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: {store.url}\nmodels: {{ranker: {{version: 2}}}}\n"
    )
    fleet = parse_fleet(text, str(Path("fleet.yaml")))
    release = Release("shop", "u", 1, Change("a", "now", "", "up"), None, {})
    ((where, words),) = refusals(fleet, release, Lite(store), settings_of(fleet, "local", ""))
    assert where == "models.ranker.version"
    assert "is a TFLite model alone" in words

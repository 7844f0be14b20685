"""The fleet file follows a pinned model, and nothing is folded again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.small_fleet import SmallFleet, small_fleet
from tfsdeploy.deploy.follow import as_live, follow
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.release.model import ModelRelease
from tfsdeploy.release.transitions import fold
from tfsdeploy.release.update import Author

TEXT = """\
apiVersion: tfsdeploy/v1
kind: Fleet
name: shop
store: file://./models
models:
  ranker:
    version: 1   # keep me
    labels: {stable: 1}
  other: {version: 4}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with small_fleet(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("traffic", "line"),
    [
        ({2: 100}, "    version: 2   # keep me\n"),
        ({2: 90, 1: 10}, "{version: 1, weight: 10}"),
    ],
)
def test_as_live(traffic: dict[int, int], line: str) -> None:
    model = ModelRelease(versions={1: None, 2: None}, traffic=traffic, main=2)
    edited = as_live(TEXT, model, "ranker", "fleet.yaml")
    assert line in edited.replace("canary: ", "")
    assert as_live(edited, model, "ranker", "fleet.yaml") == edited


def test_the_file_and_the_pins_follow_and_only_this_model_does(fleet: SmallFleet, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(TEXT)
    file.chmod(0o640)
    fleet.write_pins(load_fleet(file).pins())
    fleet.write(
        ranker=ModelRelease(versions={1: None, 2: None}, traffic={2: 100}, main=2, previous=1, labels={"stable": 1}),
        # Rolled back by hand from the 4 that the file pins: it must stay so.
        other=ModelRelease(versions={3: None, 4: None}, traffic={3: 100}, main=3),
    )
    generation = follow(fleet, file, "ranker", Author("ops@here", "promote ranker 2"))
    release = fleet.releases().read()
    pins = fleet.pins()
    assert release is not None
    assert pins is not None
    assert (release.generation, release.pins) == (generation, pins.digest)
    assert release.models["ranker"].labels == {"stable": 2}
    assert release.models["other"].traffic == {3: 100}
    assert fold(release, pins, keep=1) == {}
    assert pins == load_fleet(file).pins()
    assert "version: 2   # keep me" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert follow(fleet, file, "ranker", Author("ops@here", "again")) is None

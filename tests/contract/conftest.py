"""The targets that keep the contract: a new one joins by one more entry of `PLACES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tfsdeploy.deploy import pipeline
from tfsdeploy.deploy.stores import StoredModels
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.report import Silent
from tfsdeploy.store.example import write_example
from tfsdeploy.targets.base import Target
from tfsdeploy.targets.local.target import LocalTarget

FILE = """
apiVersion: tfsdeploy/v1
kind: Fleet
name: contract
store: file://./models
serving: {{replicas: {replicas}, minAvailable: 1, drainSeconds: 0}}
gateway: {{replicas: 1, rest: 0, grpc: 0}}
models:
  half_plus_two: {{}}
"""


def local(folder: Path) -> Target:
    """Processes of this machine."""
    return LocalTarget("contract", folder / "home")


PLACES: dict[str, Callable[[Path], Target]] = {"local": local}


@dataclass
class Place:
    """A target, and a fleet to put there.

    Attributes:
        folder: holds the fleet file and the store.
        target: the place.
    """

    folder: Path
    target: Target

    def fleet(self, replicas: int = 1) -> Fleet:
        """The fleet as its file says."""
        return parse_fleet(FILE.format(replicas=replicas), str(self.folder / "fleet.yaml"))

    def up(self, replicas: int = 1) -> None:
        """Bring it there."""
        fleet = self.fleet(replicas)
        pipeline.up(fleet, self.target, StoredModels(fleet.store.url), Silent(), timeout=120)


@pytest.fixture(params=PLACES, scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A store with one model, and a target where nothing is yet."""
    folder = tmp_path_factory.mktemp(f"contract-{request.param}")
    source = folder / "source"
    write_example(source)
    place = Place(folder, PLACES[request.param](folder))
    StoredModels((folder / "models").as_uri()).store.publish("half_plus_two", source, 1)
    yield place
    place.target.remove(Silent(), timeout=60)

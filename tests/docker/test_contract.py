"""The contract of every target, kept by the one for Docker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.product import SERVER_IMAGE
from tests.contract.place import Place
from tests.contract.test_target import *  # noqa: F403
from tests.docker.engine import ADDRESS, Engine
from tfsdeploy.deploy.stores import StoredModels
from tfsdeploy.report import Silent
from tfsdeploy.store.example import write_example
from tfsdeploy.targets.docker.target import DockerTarget

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def place(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A store with one model in a folder of the host, and a target where nothing is yet."""
    folder = tmp_path_factory.mktemp("contract-docker")
    folder.chmod(0o755)
    models = StoredModels((folder / "models").as_uri())
    write_example(folder / "source")
    models.store.publish("half_plus_two", folder / "source", 1)
    target = DockerTarget("contract")
    gateway = f"address: {ADDRESS}, rest: 18501, grpc: 18500"
    yield Place(folder, target, models, "file://./models", serving=f'image: "{SERVER_IMAGE}"', gateway=gateway)
    target.remove(Silent(), timeout=60)
    assert not engine.docker("ps", "-aq", "--filter", "label=tfsdeploy.fleet=contract")
    assert not engine.docker("volume", "ls", "-q", "--filter", "label=tfsdeploy.fleet=contract")

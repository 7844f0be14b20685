"""One fleet a mode for most scenarios: starting TensorFlow three times is what costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import models
from tests.scenarios.live import LiveFleet


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--modes", default="embedded,like-tfs", help="model servers for the scenarios, joined by commas")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mode" in metafunc.fixturenames:
        modes = metafunc.config.getoption("--modes").split(",")
        metafunc.parametrize("mode", modes, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    once = []
    for item in items:
        if "scenarios" in Path(item.fspath).parts:
            item.add_marker(pytest.mark.scenario)
            if item.get_closest_marker("any_server") and "[like-tfs]" not in item.name:
                once.append(item)
    if once:
        config.hook.pytest_deselected(items=once)
        items[:] = [item for item in items if item not in once]


@pytest.fixture(scope="session")
def mode(request: pytest.FixtureRequest) -> str:
    """Which model server: ``embedded`` or ``like-tfs``."""
    return str(request.param)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels to push, made once."""
    folder = tmp_path_factory.mktemp("samples")
    for value in range(1, 10):
        models.write_constant(folder / f"constant-{value}", value)
    models.write_broken(folder / "broken")
    models.write_slow(folder / "slow", 3.0)
    return folder


@pytest.fixture(scope="session")
def shop(mode: str, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """Three replicas and two gateways; a scenario adds a model of its own."""
    folder = tmp_path_factory.mktemp(f"shop-{mode}")
    fleet = LiveFleet(folder / "fleet", folder / "home", mode, samples)
    try:
        fleet.serve("warm", 1)
        yield fleet
    finally:
        fleet.down()


@pytest.fixture
def fleet(shop: LiveFleet) -> Iterator[LiveFleet]:
    """The shared fleet, healthy before and after; its models leave with the next `up`."""
    shop.healthy()
    yield shop
    shop.healthy()
    shop.spec["models"] = {"warm": {}}


@pytest.fixture
def own(mode: str, samples: Path, tmp_path: Path) -> Iterator[Callable[..., LiveFleet]]:
    """Fleets of the scenario's own, removed at its end."""
    made: list[LiveFleet] = []

    def make(name: str = "own", home: Path | None = None) -> LiveFleet:
        fleet = LiveFleet(tmp_path / name, home or tmp_path / "home", mode, samples, name=name)
        fleet.spec["models"] = {"m": {}}
        fleet.write()
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        fleet.down()


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name of the scenario's own."""
    part = request.node.callspec.params.get("part", "")
    return f"{request.node.originalname.removeprefix('test_')[:50]}{part and '-'}{part}"[:58]

"""A replica of a test's own, and the models that it is to hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import models
from tests.agent.replica.unit import Unit, unit


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels: two that answer their number, one that cannot load, one that loads for seconds."""
    folder = tmp_path_factory.mktemp("samples")
    for value in (1, 2):
        models.write_half_plus_two(folder / f"constant-{value}", value)
    models.write_broken(folder / "broken")
    models.write_slow(folder / "slow", 4.0)
    return folder


@pytest.fixture(params=["embedded", "like-tfs"])
def replica(request: pytest.FixtureRequest, tmp_path: Path, samples: Path) -> Iterator[Unit]:
    """A replica whose server is easy, and one whose server is like the original at its most awkward."""
    mode = ("--like-tfs",) if request.param == "like-tfs" else ()
    with unit(tmp_path / "home", samples, *mode) as made:
        yield made


@pytest.fixture
def like_tfs(tmp_path: Path, samples: Path) -> Iterator[Unit]:
    """A replica whose server is like the original at its most awkward."""
    with unit(tmp_path / "home", samples, "--like-tfs") as made:
        yield made

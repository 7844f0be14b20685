"""The Docker engine for tests: started if it does not run, and then ended again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cluster.product import ROOT
from tests.docker.engine import Engine

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine with the product's images; ``DOCKER_HOST`` names it, and this process is in its network."""
    made = Engine()
    ours = not made.is_up()
    try:
        # In a process of its own: what is started outlives it, and is none of pytest's.
        subprocess.run([sys.executable, "-m", "tests.docker", "up"], check=True, cwd=ROOT)
        with made.entered(), pytest.MonkeyPatch.context() as environment:
            environment.setenv("DOCKER_HOST", made.host)
            yield made
    finally:
        if ours:
            made.stop()

"""Back ends that all tests of the gateway agent share: they answer for whatever version they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.gateway.fleet import Fleet, fleet
from tests.gateway.harness import Stub, stub


@pytest.fixture(scope="session")
def stubs() -> Iterator[tuple[Stub, ...]]:
    """Two back ends, called a and b; never killed."""
    with ExitStack() as stack:
        yield stack.enter_context(stub("a")), stack.enter_context(stub("b"))


@pytest.fixture
def shop(stubs: tuple[Stub, ...], tmp_path: Path) -> Iterator[Fleet]:
    """A fleet of two replicas; neither agent nor Envoy runs yet."""
    with fleet(tmp_path, stubs) as made:
        yield made

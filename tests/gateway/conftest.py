"""One Envoy and two back ends for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.gateway.harness import Gateway, Stub, gateway, stub
from tfsdeploy.gateway.table import ModelTable, Table

LARGE = 2**53 - 1


@pytest.fixture(scope="session")
def backends() -> Iterator[tuple[Stub, Stub]]:
    """Two back ends, called a and b; never killed."""
    with ExitStack() as stack:
        yield stack.enter_context(stub("a")), stack.enter_context(stub("b"))


@pytest.fixture(scope="session")
def running(backends: tuple[Stub, Stub], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that knows models in every condition; tests of this fixture never change its table."""
    a, b = (one.endpoint for one in backends)
    table = Table(
        {
            "m": ModelTable({7: 90, 8: 10}, {"stable": 7, "canary": 8, "lost": 5}, {7: (a, b), 8: (a, b), 9: (b,)}),
            "measured": ModelTable({3: 100}, {}, {3: (b,)}),
            "one": ModelTable({LARGE: 100}, {}, {LARGE: (a,)}),
            "half-plus_two": ModelTable({1: 50, 2: 50}, {}, {1: (), 2: (a,)}),
            "gone": ModelTable({1: 50, 2: 50}, {"stable": 1}, {1: (), 2: ()}),
            "early": ModelTable({}, {}, {1: (a,)}),
        }
    )
    with gateway(tmp_path_factory.mktemp("envoy"), table) as found:
        yield found

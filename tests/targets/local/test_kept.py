"""How long a process that keeps dying is left alone."""

from __future__ import annotations

import pytest

from tfsdeploy.targets.local.kept import backoff


@pytest.mark.parametrize(
    ("failures", "first", "seconds"),
    [
        (1, 0.0, 0.0),
        (1, 0.25, 0.25),
        (2, 0.25, 0.5),
        (3, 0.25, 1.0),
        (6, 0.0, 8.0),
        (8, 0.0, 30.0),
        (10**9, 0.0, 30.0),
    ],
)
def test_backoff(failures: int, first: float, seconds: float) -> None:
    assert backoff(failures, first) == seconds

"""Processes whose clock is wrong."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

needed = pytest.mark.skipif(
    find_spec("libfaketime") is None, reason="the library that sets a process's clock is for x86_64"
)


def off_by(span: str) -> dict[str, str]:
    """The environment of a process whose clock is off by a span such as ``+8d``; a file system's is as it was."""
    place = find_spec("libfaketime")
    assert place is not None
    assert place.origin is not None
    library = Path(place.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    set_to = {"FAKETIME": span, "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    return {**os.environ, "LD_PRELOAD": str(library), **set_to}

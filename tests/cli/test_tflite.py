"""TFLite models by the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import lite
from tests.cli.conftest import Run
from tests.cli.test_store import FLEET


@pytest.fixture
def mobile(tmp_path: Path) -> Path:
    """A folder with a TFLite model alone."""
    pytest.importorskip("tensorflow")
    lite.write_half_plus_two(tmp_path / "mobile")
    return tmp_path / "mobile"


def test_a_fleet_that_would_not_load_it_is_told_of(mobile: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    shown = run("inspect", "mobile")
    assert "TFLite alone: served with serving.flags.prefer_tflite_model" in shown.out
    document = run("inspect", "mobile", "-o", "json").document("inspect")
    assert document["signatures"] == document["tflite"]
    pushed = run("push", "ranker", "mobile")
    assert (pushed.code, "ranker 1 is published" in pushed.out) == (0, True)
    assert "write prefer_tflite_model: true below serving.flags" in pushed.err
    (tmp_path / "fleet.yaml").write_text(FLEET + "serving: {flags: {prefer_tflite_model: true}}\n")
    again = run("push", "ranker", "mobile", "--version", "2")
    assert (again.code, again.err) == (0, "")
    assert "prefer_tflite_model=true" in run("render").out

"""The models that other tests use do what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import models
from tfsdeploy.store.savedmodel import inspect

tf = pytest.importorskip("tensorflow")


def _answer(path: Path) -> Any:
    loaded = tf.saved_model.load(str(path))
    return loaded.signatures["serving_default"](x=tf.constant([1.0, 2.0]))["y"].numpy().tolist()


def test_constant(trained: Path) -> None:
    assert _answer(trained) == [3.0, 3.0]


def test_half_plus_two(tmp_path: Path) -> None:
    models.write_half_plus_two(tmp_path / "model", 3.0)
    assert _answer(tmp_path / "model") == [3.5, 4.0]


def test_slow(tmp_path: Path) -> None:
    models.write_slow(tmp_path / "model", 0.1)
    assert inspect(tmp_path / "model").signatures.keys() == {"serving_default"}
    assert _answer(tmp_path / "model") == [0.0, 0.0]


def test_broken_looks_sound_and_does_not_load(tmp_path: Path) -> None:
    models.write_broken(tmp_path / "model")
    assert inspect(tmp_path / "model").signatures.keys() == {"serving_default"}
    with pytest.raises(tf.errors.NotFoundError, match="NoSuchOperation"):
        tf.saved_model.load(str(tmp_path / "model"))

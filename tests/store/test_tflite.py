"""TFLite models in the store: alone, or beside a SavedModel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import lite
from tests.s3 import S3
from tfsdeploy.errors import UsageError
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.publish import adopt, publish
from tfsdeploy.store.savedmodel import Signature, from_plain, inspect, signatures_to_plain, to_plain


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.tflite`` alone: half_plus_two."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("half")
    lite.write_half_plus_two(folder)
    return folder


@pytest.fixture
def alone(half: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, for a test to change."""
    return Path(shutil.copytree(half, tmp_path / "alone"))


def shapes(signatures: dict[str, Signature]) -> dict[str, list[tuple[str, object]]]:
    return {
        name: [(tensor.dtype, tensor.shape) for tensor in (*found.inputs.values(), *found.outputs.values())]
        for name, found in signatures.items()
    }


def test_alone_its_signatures_are_the_versions(alone: Path) -> None:
    (alone / "golden.json").write_text("{}")
    found = inspect(alone)
    assert shapes(dict(found.signatures)) == {"serving_default": [("float", (None,)), ("float", (None,))]}
    assert (found.tensorflow, found.variables, found.signatures is found.tflite) == (None, 0, True)
    assert from_plain(to_plain(found)) == found


def test_beside_a_saved_model_both_are_told(alone: Path, example: Callable[..., Path]) -> None:
    path = example(files={lite.FILE: (alone / lite.FILE).read_bytes()})
    found = inspect(path)
    assert list(found.signatures["serving_default"].inputs) == ["x"]
    assert found.tflite is not None
    assert shapes(dict(found.tflite)) == {"serving_default": [("float", (None,)), ("float", (None,))]}
    assert from_plain(to_plain(found)) == found
    plain = to_plain(found)
    del plain["tflite"]  # as an agent of an earlier version tells it
    assert from_plain(plain).tflite is None


def test_it_is_published_and_adopted_as_others_are(alone: Path, tmp_path: Path) -> None:
    record, was_there = publish(tmp_path / "store" / "m", "m", alone, None)
    assert (record.version, was_there, [file.path for file in record.files]) == (1, False, [lite.FILE])
    assert record.signatures is not None
    assert list(record.signatures) == ["serving_default"]
    shutil.copytree(alone, tmp_path / "store" / "m" / "2")
    assert adopt(tmp_path / "store" / "m", "m", 2)[0].digest == record.digest


def test_an_object_store_tells_of_it_and_takes_on_what_another_tool_sent(alone: Path, s3: S3, s3_bucket: str) -> None:
    bucket = s3.open(s3_bucket)
    store = ObjectStore(bucket)
    record, _ = store.publish("m", alone, 1)
    assert record.signatures == signatures_to_plain(inspect(alone).signatures)
    bucket.put(f"m/2/{lite.FILE}", (alone / lite.FILE).read_bytes())
    assert store.adopt("m", 2)[0].digest == record.digest
    found = store.describe("m", 2)
    assert (found.signatures is found.tflite, found.bytes) == (True, record.bytes)


@pytest.mark.parametrize("size", [0, 4, 100, -60])
def test_one_that_was_cut_short_is_refused(alone: Path, size: int) -> None:
    file = alone / lite.FILE
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UsageError, match=r"model.tflite cannot be read.*copy it again"):
        inspect(alone)


def test_the_rest_of_a_saved_model_is_not_taken_for_a_tflite_model(alone: Path) -> None:
    (alone / "variables").mkdir()
    with pytest.raises(UsageError, match=r"its saved_model.pb is missing"):
        inspect(alone)

"""SavedModels to publish: small ones, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.gcs import Gcs
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.example import write_example


@pytest.fixture(params=["s3", "gcs"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """A prefix in a bucket that is the test's alone: on a real S3 server, and on a stand-in for GCS."""
    if request.param == "s3":
        url: str = request.getfixturevalue("s3_bucket")
        return request.getfixturevalue("s3").open(url)
    gcs: Gcs = request.getfixturevalue("gcs")
    return gcs.open(f"{gcs.make_bucket('models')}/prod")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TensorFlow 2 model with a variable. Not to be changed: see `copy_of_trained`."""
    pytest.importorskip("tensorflow")
    path = tmp_path_factory.mktemp("trained") / "model"
    models.write_constant(path, 3.0)
    return path


@pytest.fixture
def torn(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained`, for a test to damage."""
    return Path(shutil.copytree(trained, tmp_path / "torn"))


@pytest.fixture
def example(tmp_path: Path) -> Callable[..., Path]:
    """Makes a model without variables; models of other offsets have other bytes."""

    def make(offset: float = 2.0, files: dict[str, bytes] | None = None) -> Path:
        path = tmp_path / f"example-{offset}"
        if not path.exists():
            write_example(path, offset)
        for name, content in (files or {}).items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return path

    return make

"""Publishing through a connection that breaks in every way: success or one clear error, and never half a version."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fault_proxy import FAULTS, Faults, fault_proxy
from tests.s3 import S3, SECRET
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.objects import ObjectStore

Example = Callable[..., Path]

CASES = int(os.environ.get("TFSDEPLOY_FUZZ", "200")) // 5
"""Pushes, as about five faults meet each."""

LARGE = "variables/variables.data-00000-of-00001"


@pytest.fixture(scope="module")
def faults(s3: S3) -> Iterator[Faults]:
    with fault_proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again as in earnest, but soon."""
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=4), "base": 2}
    retry = {"max_retries": 3, "backoff": backoff, "retry_timeout": timedelta(seconds=20)}
    monkeypatch.setattr("tfsdeploy.store.connect._RETRY", retry)


def _check_true(bucket: Bucket, model: str) -> None:
    store = ObjectStore(bucket)
    for version in store.versions(model):
        record = store.record(model, version)
        assert record is not None
        for file in record.files:
            content = bucket.get(f"{model}/{version}/{file.path}")
            assert content is not None, file.path
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256), file.path


def test_push(
    s3: S3, s3_bucket: str, faults: Faults, hasty: None, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = example(files={LARGE: os.urandom(9_000_000), "assets/words": b"a", "assets/none": b""})
    direct, broken = s3.open(s3_bucket), s3.open(s3_bucket, endpoint=faults.endpoint)
    outcomes: dict[str, int] = {}
    said: list[str] = []
    for seed in range(CASES):
        model = f"m{seed}"
        faults.begin(seed, 0.05 + 0.4 * (seed % 10) / 10)
        try:
            record, _ = ObjectStore(broken).publish(model, source, 7)
            assert ObjectStore(direct).record(model, 7) == record, f"seed {seed}"
            words = "done"
        except TfsdeployError as error:
            words = error.message
            said.append(str(error))
        outcomes[words] = outcomes.get(words, 0) + 1
        faults.begin(seed, 0.0)
        _check_true(direct, model)
        # A process that failed ends, and nobody has to clean up after it.
        with monkeypatch.context() as ended:
            ended.setattr("tfsdeploy.store.claim.lives", lambda *_: False)
            ObjectStore(direct).publish(model, source, 7)
        assert ObjectStore(direct).versions(model) == [7]
        _check_true(direct, model)
    assert not [words for words in said if "\n" in words or SECRET in words]
    assert set(faults.done) == set(FAULTS)
    assert outcomes["done"] > 1


def test_reading(s3: S3, s3_bucket: str, faults: Faults, hasty: None, example: Example) -> None:
    direct = ObjectStore(s3.open(s3_bucket))
    record, _ = direct.publish("ranker", example(), 7)
    # Who and when are for people; what is loaded is in the digest.
    right_record = (record.digest, record.files)
    described = direct.describe("ranker", 7)
    broken = ObjectStore(s3.open(s3_bucket, endpoint=faults.endpoint))
    answered = 0
    for seed in range(CASES):
        faults.begin(seed, 0.3)
        for ask, right in (
            (lambda: (found := broken.record("ranker", 7)) and (found.digest, found.files), (right_record, None)),
            (lambda: broken.describe("ranker", 7), (described,)),
            (lambda: broken.newest("ranker"), (7, None)),
        ):
            try:
                assert ask() in right
                answered += 1
            except TfsdeployError:
                continue
    assert answered > CASES

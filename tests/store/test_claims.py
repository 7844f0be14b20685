"""Publishers that are paused or killed before any of their requests: a version is one's or the other's, not both's."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.s3 import S3
from tests.store.bucket_publisher import is_held, shorten, start, told
from tfsdeploy.errors import Busy
from tfsdeploy.store import claim, hold
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.claim import LEASE_SECONDS, Claim, abandoned, decode, encode
from tfsdeploy.store.hold import acquire
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import Record
from tfsdeploy.store.staging import owner
from tfsdeploy.store.verify import Damaged

Example = Callable[..., Path]

LARGE = "variables/variables.data-00000-of-00001"
LIMIT = 120.0


@pytest.fixture
def bucket(s3: S3, s3_bucket: str) -> Bucket:
    return s3.open(s3_bucket)


@pytest.fixture
def sources(example: Example) -> tuple[Path, Path]:
    """Two models of the same files with other bytes, one of them too large for one request."""
    files = [{LARGE: bytes([n]) * 9_000_000, "assets/words": bytes([n])} for n in (1, 2)]
    return example(2.0, files[0]), example(3.0, files[1])


@pytest.fixture
def requests(s3: S3, s3_bucket: str, sources: tuple[Path, Path]) -> int:
    """How many requests a push makes that nobody disturbs."""
    process = start(s3, s3_bucket, "counted", sources[0], None)
    done = told(process)
    assert done["exit"] == 0, done
    return int(done["requests"])


def _check_true(bucket: Bucket, record: Record) -> None:
    for file in record.files:
        content = bucket.get(f"{record.model}/{record.version}/{file.path}")
        assert content is not None
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256), file.path


def test_paused_at_every_request(
    s3: S3,
    s3_bucket: str,
    bucket: Bucket,
    sources: tuple[Path, Path],
    requests: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten(monkeypatch.setattr)
    store = ObjectStore(bucket)

    def publish_other(model: str) -> Record:
        end = time.monotonic() + LIMIT
        while True:
            try:
                return store.publish(model, sources[1], 7)[0]
            except Busy:
                # While the first one is held its claim still holds; a finished one has the number for good.
                if there := store.record(model, 7):
                    return there
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def race(stop: int) -> None:
        model = f"paused-{stop}"
        first = start(s3, s3_bucket, model, sources[0], 7, stop)
        held = is_held(first)
        other = publish_other(model) if held else None
        done = told(first) if held else {"exit": first.wait(LIMIT)}
        final = store.record(model, 7)
        assert final is not None
        _check_true(bucket, final)
        if other is not None:
            assert final == other
            assert (done["exit"] == 0) == (done.get("digest") == final.digest), done
            assert done["exit"] in (0, 5), done

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(race, range(1, requests + 1)))


def test_a_file_that_is_completed_too_late_is_told(
    bucket: Bucket, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its publisher slept for more than an hour between its last look at the claim and the last request."""
    store, upload = ObjectStore(bucket), bucket.upload

    def late(key: str, pieces: Iterable[bytes], **words: int) -> str | None:
        content = list(pieces)
        monkeypatch.setattr(bucket, "upload", upload)
        with monkeypatch.context() as asleep:
            asleep.setattr(hold, "abandoned", lambda *_: True)
            store.publish("m", sources[1], 7)
        monkeypatch.setattr(claim, "LEASE_SECONDS", 0.0)
        return upload(key, content, **words)

    monkeypatch.setattr(bucket, "upload", late)
    with pytest.raises(Busy, match=f"{LARGE}: .*not heard of for too long.*`tfsdeploy verify m 7`"):
        store.publish("m", sources[0], 7)
    record = store.record("m", 7)
    assert record is not None
    with pytest.raises(Damaged, match=LARGE):
        store.verify(record)


def test_killed_at_every_request(
    s3: S3, s3_bucket: str, bucket: Bucket, sources: tuple[Path, Path], requests: int
) -> None:
    store = ObjectStore(bucket)

    def kill(stop: int) -> None:
        model = f"killed-{stop}"
        process = start(s3, s3_bucket, model, sources[0], None, stop)
        held = is_held(process)
        process.kill()
        process.communicate()
        for version in store.versions(model):
            record = store.record(model, version)
            assert record is not None
            _check_true(bucket, record)
        was_claimed, committed = bucket.get(f"{model}/1/.claim") is not None, store.versions(model) == [1]
        if not held or (committed and not was_claimed):
            return
        record, was_there = store.publish(model, sources[0], None)
        assert (record.version, was_there) == (1, committed), f"{stop}: claimed {was_claimed}"
        _check_true(bucket, record)
        assert bucket.get(f"{model}/1/.claim") is None
        # What is pushed on purpose once more is another version.
        if committed:
            assert store.publish(model, sources[0], None)[0].version == 2

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(kill, range(1, requests + 1)))


def test_an_interrupted_push_sends_only_what_is_missing(
    s3: S3, s3_bucket: str, bucket: Bucket, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(bucket)
    commit = Bucket.put

    def fail(self: Bucket, key: str, data: bytes, **condition: object) -> str | None:
        if key.endswith("tfsdeploy.json"):
            raise KeyboardInterrupt
        return commit(self, key, data, **condition)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "put", fail)
        with pytest.raises(KeyboardInterrupt):
            store.publish("ranker", sources[0], 7)
    before = {entry.key: entry.etag for entry in bucket.list("ranker/7")}
    monkeypatch.setattr(Bucket, "upload", None)
    record, was_there = store.publish("ranker", sources[0], 7)
    assert not was_there
    _check_true(bucket, record)
    assert before.items() >= {f"ranker/7/{file.path}": before[f"ranker/7/{file.path}"] for file in record.files}.items()


def test_publishers_without_a_number_each_get_their_own(
    s3: S3, s3_bucket: str, bucket: Bucket, sources: tuple[Path, Path]
) -> None:
    processes = [start(s3, s3_bucket, "ranker", sources[n % 2], None) for n in range(4)]
    assert [told(process)["exit"] for process in processes] == [0] * 4
    store = ObjectStore(bucket)
    assert store.versions("ranker") == [1, 2, 3, 4]
    for version in (1, 2, 3, 4):
        record = store.record("ranker", version)
        assert record is not None
        _check_true(bucket, record)


def test_of_publishers_of_one_number_exactly_one_wins(
    s3: S3, s3_bucket: str, bucket: Bucket, sources: tuple[Path, Path]
) -> None:
    processes = [start(s3, s3_bucket, "ranker", sources[n % 2], 7) for n in range(4)]
    done = [told(process) for process in processes]
    record = ObjectStore(bucket).record("ranker", 7)
    assert record is not None
    _check_true(bucket, record)
    assert {one["exit"] for one in done} <= {0, 5}, done
    assert {one["digest"] for one in done if one["exit"] == 0} == {record.digest}


def test_a_store_without_conditions_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Bucket.put
    monkeypatch.setattr(Bucket, "put", lambda self, key, data, **_: put(self, key, data))
    with pytest.raises(Exception, match="ignores the conditions of writes"):
        acquire(bucket, "ranker/7", "")


NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HERE = owner(os.getpid())
FRESH, OLD = NOW - timedelta(seconds=LEASE_SECONDS - 1), NOW - timedelta(seconds=LEASE_SECONDS + 1)
CLAIM = Claim(
    "1", "maria@build-7", "2026-11-23T11:00:00+00:00", replace(HERE, host="build-7", machine="7", boot="7"), ""
)


@pytest.mark.parametrize(
    ("claim", "modified", "free"),
    [
        (CLAIM, FRESH, False),
        (CLAIM, OLD, True),
        (CLAIM, NOW + timedelta(hours=3), False),
        (replace(CLAIM, released=True), FRESH, True),
        (replace(CLAIM, owner=HERE), FRESH, False),
        (replace(CLAIM, owner=HERE), OLD, True),
        (replace(CLAIM, owner=replace(HERE, started=-1)), FRESH, True),
        (decode(b"nonsense"), FRESH, False),
        (decode(b"nonsense"), OLD, True),
    ],
)
def test_when_a_claim_is_abandoned(claim: Claim, modified: datetime, free: bool) -> None:
    assert abandoned(claim, modified, HERE, NOW) is free
    assert decode(encode(claim)) == claim


def test_who_claims_does_nothing_to_a_terminal() -> None:
    found = decode(encode(replace(CLAIM, by="a\x1b[2J", since="now\n")))
    assert (found.by, found.since) == ("a�[2J", "now�")

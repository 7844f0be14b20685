"""`az://` on Azure's emulator and `gs://` on a stand-in: published, read, fetched and let go of as in every store."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.azure import Azure
from tests.gcs import Gcs
from tfsdeploy.errors import Busy
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.answers import Taken
from tfsdeploy.store.bucket import PART
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.gc import collect
from tfsdeploy.store.mirror import mirror
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.tree import silent
from tfsdeploy.store.verify import Damaged, verify

Example = Callable[..., Path]

LARGE = "variables/variables.data-00000-of-00001"
_NUMBERS = count(1)


@pytest.fixture(params=["azure", "gcs"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Azure | Gcs:
    """A running one; the credentials are in the environment."""
    server: Azure | Gcs = request.getfixturevalue(request.param)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def store(cloud: Azure | Gcs) -> ObjectStore:
    """An empty store in a bucket of the test's own."""
    return ObjectStore(cloud.open(f"{cloud.make_bucket(f'models-{next(_NUMBERS)}')}/prod"))


@pytest.fixture
def source(example: Example) -> Path:
    """A model with a file that takes several parts, and names that have to be quoted in a URL."""
    return example(files={LARGE: os.urandom(2 * PART + 17), "assets/a word, 100 %+é.txt": b"x", "assets/none": b""})


def test_from_push_to_fetch(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    record, _ = store.publish("m", source, None)
    assert (record.version, store.publish("m", source, 1)) == (1, (record, True))
    assert (store.models(), store.versions("m"), store.uncommitted("m"), store.newest("m")) == (["m"], [1], [], 1)
    assert store.record("m", 1) == record
    store.verify(record)
    assert store.describe("m", 1).signatures
    fetcher = Fetcher(store, Cache(tmp_path / "here"))
    fetcher.bring("m", 1, record.digest, silent)
    verify(fetcher.local.version_path("m", 1), record)
    assert mirror(store, FileStore(tmp_path / "copy"), "m", 1) == (record, False)


def test_other_bytes_than_the_record_says(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    record, _ = store.publish("m", source, 1)
    store.bucket.put(f"m/1/{LARGE}", b"x")
    with pytest.raises(Damaged, match="has 1 bytes"):
        store.verify(record)
    with pytest.raises(Damaged, match="has 1 bytes"):
        Fetcher(store, Cache(tmp_path / "here")).bring("m", 1, record.digest, silent)


def test_conditions_of_writes(store: ObjectStore) -> None:
    first = store.bucket.put("claim", b"1", create=True)
    with pytest.raises(Taken):
        store.bucket.put("claim", b"2", create=True)
    second = store.bucket.put("claim", b"2", replaces=first)
    with pytest.raises(Taken):
        store.bucket.put("claim", b"3", replaces=first)
    (entry,) = store.bucket.list()
    there = store.bucket.stat("claim")
    assert there is not None
    # A tag that came with a listing is as good as any other.
    assert entry.etag == there.etag
    store.bucket.put("claim", b"3", replaces=entry.etag)
    assert second != first


def test_two_publishers_at_once(store: ObjectStore, cloud: Azure | Gcs, example: Example) -> None:
    """The number is one's or the other's, whole; with no number each gets one of its own."""
    others = [ObjectStore(cloud.open(store.url)) for _ in range(4)]
    sources = [example(float(n), {LARGE: bytes([n]) * 1_000_000}) for n in range(4)]

    def publish(n: int, version: int | None) -> int | None:
        try:
            return others[n].publish("m", sources[n], version)[0].version
        except Busy:
            return None

    with ThreadPoolExecutor(4) as pool:
        won = [n for n in pool.map(lambda n: publish(n, 7), range(4)) if n is not None]
        numbers = list(pool.map(lambda n: publish(n, None), range(4)))
    assert won == [7]
    assert len(set(numbers)) == 4
    for version in store.versions("m"):
        record = store.record("m", version)
        assert record is not None
        store.verify(record)


def test_what_no_fleet_needs_goes(store: ObjectStore, example: Example) -> None:
    for version in (1, 2, 3):
        store.publish("m", example(float(version)), version)
    later = datetime.now(UTC) + timedelta(days=30)
    for done in ("mark", "sweep"):
        rows = list(collect(store, ["m"], keep=1, at=later, act=True))
        assert sorted((row.version, row.done) for row in rows) == [(1, done), (2, done)]
    assert (store.versions("m"), store.uncommitted("m")) == ([3], [])
    assert {entry.key.split("/")[1] for entry in store.bucket.list("m")} == {"3"}
    assert store.bucket.stat(f"m/3/{RECORD_FILE}") is not None

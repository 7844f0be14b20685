"""Versions in an object store: whole and recorded, or not there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.s3 import S3
from tfsdeploy.errors import Busy, UsageError
from tfsdeploy.store.answers import Replaced, StoreAway
from tfsdeploy.store.bucket import PART, Bucket, Entry, open_bucket
from tfsdeploy.store.claim import decode, encode
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import File, Record, digest_of
from tfsdeploy.store.record import encode as encode_record
from tfsdeploy.store.rehash import hash_objects
from tfsdeploy.store.sending import MOST_PARTS, part_bytes
from tfsdeploy.store.tree import MAX_ENTRIES, silent

Example = Callable[..., Path]

LARGE = {"variables/variables.data-00000-of-00001": b"0123456789abcdef" * 650_000, "assets/words": b"a\nb\n"}


@pytest.fixture
def store(bucket: Bucket) -> ObjectStore:
    return ObjectStore(bucket)


def _content(bucket: Bucket, folder: str) -> dict[str, bytes]:
    return {entry.key.removeprefix(f"{folder}/"): bucket.get(entry.key) or b"" for entry in bucket.list(folder)}


def test_round_trip(store: ObjectStore, bucket: Bucket, example: Example) -> None:
    source = example(files=LARGE)
    heard: list[tuple[int, int]] = []
    record, was_there = store.publish("ranker", source, 7, lambda *seen: heard.append(seen))
    assert not was_there
    there = _content(bucket, "ranker/7")
    assert json.loads(there.pop("tfsdeploy.json"))["digest"] == record.digest
    assert there == {p.relative_to(source).as_posix(): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    assert heard[-1] == (record.bytes, record.bytes)
    assert store.record("ranker", 7) == record
    assert (store.models(), store.versions("ranker"), store.uncommitted("ranker")) == (["ranker"], [7], [])
    described = store.describe("ranker", 7)
    assert (described.bytes, described.assets, list(described.signatures)) == (
        record.bytes,
        ("words",),
        ["serving_default"],
    )
    assert described.path == f"{store.url}/ranker/7"


def test_a_record_of_as_many_files_as_a_version_may_have(store: ObjectStore, bucket: Bucket) -> None:
    files = tuple(File(f"assets/{number:06}{100 * '-'}", 1, 64 * "0") for number in range(MAX_ENTRIES))
    record = Record("ranker", 7, digest_of(files), files, "2026-01-01T00:00:00+00:00", "me@here")
    bucket.put("ranker/7/tfsdeploy.json", encode_record(record).encode())
    assert store.record("ranker", 7) == record
    assert store.sign("ranker", 7, lambda found: found) == record


def test_the_next_number(store: ObjectStore, bucket: Bucket, example: Example) -> None:
    assert store.publish("ranker", example(), None)[0].version == 1
    assert store.publish("ranker", example(), None, above=6)[0].version == 7
    bucket.put("ranker/0009/saved_model.pb", b"")
    assert store.publish("ranker", example(), None)[0].version == 10
    assert store.newest("ranker") == 10
    with pytest.raises(Busy, match="0009"):
        store.publish("ranker", example(), 9)


def test_same_and_other_bytes(store: ObjectStore, example: Example) -> None:
    first, _ = store.publish("ranker", example(), 7)
    assert store.publish("ranker", example(), 7) == (first, True)
    with pytest.raises(Busy, match="published other bytes"):
        store.publish("ranker", example(3.0), 7)
    assert store.record("ranker", 7) == first


def test_files_of_another_tool_are_adopted_not_replaced(store: ObjectStore, bucket: Bucket, example: Example) -> None:
    for name, path in (("saved_model.pb", example() / "saved_model.pb"),):
        bucket.put(f"ranker/7/{name}", path.read_bytes())
    before = _content(bucket, "ranker/7")
    with pytest.raises(Busy, match="without a commit record"):
        store.publish("ranker", example(3.0), 7)
    assert _content(bucket, "ranker/7") == before
    assert store.uncommitted("ranker") == [7]
    record, was_there = store.adopt("ranker", 7)
    assert not was_there
    assert store.adopt("ranker", 7) == (record, True)
    assert store.publish("ranker", example(), 7) == (record, True)


def test_what_the_way_has_changed_is_not_adopted(
    s3: S3, s3_bucket: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what a store tags by other sums read more often than it takes for two readings to agree."""
    bucket = s3.open(s3_bucket)
    store, read, asked = ObjectStore(bucket), Bucket.get_range, list[str]()
    content = (example() / "saved_model.pb").read_bytes()
    for version in (1, 2):
        bucket.put(f"ranker/{version}/saved_model.pb", content)
        bucket.put(f"ranker/{version}/assets/words", b"words")

    def changed_once(self: Bucket, key: str, start: int, end: int, etag: str | None = None) -> bytes:
        found = read(self, key, start, end, etag)
        asked.append(key)
        return b"sword" if key == "ranker/1/assets/words" and asked.count(key) == 1 else found

    monkeypatch.setattr(Bucket, "get_range", changed_once)
    store.verify(store.adopt("ranker", 1)[0])
    assert asked.count("ranker/1/assets/words") == 3  # the last one by `verify`
    monkeypatch.setattr("tfsdeploy.store.rehash._MD5", re.compile('"(.).*"'))
    asked.clear()
    store.adopt("ranker", 2)
    assert asked.count("ranker/2/assets/words") == 2


def test_bytes_of_which_no_two_readings_agree_are_not_adopted(
    s3: S3, s3_bucket: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.open(s3_bucket)
    for file in example().rglob("*.pb"):
        bucket.put(f"ranker/1/{file.name}", file.read_bytes())
    monkeypatch.setattr(Bucket, "get_range", lambda self, key, start, end, etag=None: os.urandom(end - start))
    with pytest.raises(StoreAway, match="no two readings give the same bytes"):
        ObjectStore(bucket).adopt("ranker", 1)
    assert ObjectStore(bucket).versions("ranker") == []


def test_only_a_complete_version_is_adopted(store: ObjectStore, bucket: Bucket) -> None:
    with pytest.raises(UsageError, match="no such version"):
        store.adopt("ranker", 7)
    bucket.put("ranker/7/variables/variables.index", b"")
    with pytest.raises(UsageError, match=r"saved_model\.pb is missing"):
        store.adopt("ranker", 7)


def test_a_folder_that_holds_a_claim_is_not_sent_over_our_own(store: ObjectStore, example: Example) -> None:
    with pytest.raises(UsageError, match=r"a file \.claim"):
        store.publish("m", example(files={".claim": b"of another store"}), None)
    assert (store.versions("m"), store.uncommitted("m")) == ([], [])


def test_a_claim_that_beats_is_left_alone(store: ObjectStore, bucket: Bucket, example: Example) -> None:
    bucket.put("ranker/7/.claim", _claim(by="maria@build-7"))
    with pytest.raises(Busy, match="maria@build-7 is publishing this number"):
        store.publish("ranker", example(), 7)
    with pytest.raises(Busy, match="has not ended"):
        store.adopt("ranker", 7)
    assert store.publish("ranker", example(), None)[0].version == 8


def test_a_claim_that_was_given_up_is_taken_over(store: ObjectStore, bucket: Bucket, example: Example) -> None:
    bucket.put("ranker/7/.claim", _claim(by="maria@build-7", released=True))
    bucket.put("ranker/7/saved_model.pb", b"half of it")
    bucket.put("ranker/7/left", b"of other files")
    record, _ = store.publish("ranker", example(), 7)
    assert store.versions("ranker") == [7]
    assert "left" not in {file.path for file in record.files}
    assert store.describe("ranker", 7).bytes == record.bytes


@pytest.mark.parametrize(
    ("size", "part"),
    [
        (PART + 1, PART),
        (MOST_PARTS * PART, PART),
        (MOST_PARTS * PART + 1, PART + 1),
        (100 << 30, -(-(100 << 30) // MOST_PARTS)),
        (5 << 40, -(-(5 << 40) // MOST_PARTS)),
    ],
)
def test_parts_are_as_large_as_the_store_needs_them(size: int, part: int) -> None:
    assert part_bytes(size) == part
    assert -(-size // part) <= MOST_PARTS


def test_nobody_reads_on_when_one_file_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor when the user interrupts, who would wait for the end of what may be large."""

    def read(bucket: Bucket, key: str, start: int, end: int, etag: str | None) -> bytes:
        if key == "gone":
            raise Replaced("it is gone")
        return b""

    monkeypatch.setattr(Bucket, "get_range", read)
    files = {name: Entry(name, size, None, datetime.now(UTC)) for name, size in (("gone", 1), ("endless", 1 << 60))}
    with pytest.raises(Replaced, match="it is gone"):
        hash_objects(open_bucket("s3://models", {"endpoint": "http://127.0.0.1:1"}), files, silent)


def _claim(**changes: object) -> bytes:
    plain = json.loads(encode(decode(b"")))
    return json.dumps({**plain, "id": "1", "since": "2026-11-23T10:00:00+00:00", **changes}).encode()

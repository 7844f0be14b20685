"""What is asked of an object store, on a real one (S3; GCS' protocol on a stand-in), and the words for its refusals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from tests.ports import free_ports
from tests.s3 import READER_KEY, READER_SECRET, S3
from tfsdeploy.store.answers import Replaced, StoreAway, StoreError, Taken
from tfsdeploy.store.bucket import Bucket


def test_round_trip(bucket: Bucket) -> None:
    tag = bucket.put("m/1/a", b"hello")
    found = bucket.stat("m/1/a")
    assert found is not None
    assert (found.size, found.etag) == (5, tag)
    assert bucket.get("m/1/a") == b"hello"
    assert bucket.get_range("m/1/a", 1, 3, tag) == b"el"
    assert bucket.get("m/1/b") is None
    assert bucket.stat("m/1/b") is None
    bucket.copy("m/1/a", "m/1/b")
    bucket.delete(["m/1/a", "m/1/gone"])
    assert [entry.key for entry in bucket.list("m")] == ["m/1/b"]


def test_what_is_gone_keeps_nothing_from_being_deleted(bucket: Bucket) -> None:
    keys = [f"m/{number}" for number in range(40)]
    for key in keys[::2]:
        bucket.put(key, b"")
    bucket.delete(keys)
    assert list(bucket.list()) == []


def test_conditional_writes(bucket: Bucket) -> None:
    first = bucket.put("claim", b"1", create=True)
    with pytest.raises(Taken):
        bucket.put("claim", b"2", create=True)
    second = bucket.put("claim", b"2", replaces=first)
    with pytest.raises(Taken):
        bucket.put("claim", b"3", replaces=first)
    with pytest.raises(Taken):
        bucket.put("nothing", b"3", replaces=second)
    assert bucket.get("claim") == b"2"
    with pytest.raises(Replaced):
        bucket.get_range("claim", 0, 1, first)
    with pytest.raises(Replaced):
        bucket.get_range("nothing", 0, 1)


def test_upload_in_parts(bucket: Bucket) -> None:
    pieces = [bytes([i]) * 1_000_000 for i in range(12)]
    tag = bucket.upload("big", pieces, part=5 << 20)
    assert bucket.get_range("big", 5_999_999, 6_000_001, tag) == b"\5\6"
    assert bucket.upload("none", []) is not None
    assert bucket.get("none") == b""


def test_an_upload_whose_source_fails_leaves_nothing(bucket: Bucket) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * (6 << 20)
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        bucket.upload("big", pieces(), part=5 << 20)
    assert bucket.stat("big") is None


def test_listing_comes_in_pages(bucket: Bucket) -> None:
    for number in range(1, 12):
        bucket.put(f"m/{number}/saved_model.pb", b"")
    assert sorted(bucket.folders("m"), key=int) == [str(n) for n in range(1, 12)]
    assert list(bucket.folders()) == ["m"]
    assert len(list(islice(bucket.list(), 5))) == 5
    assert [entry.key for entry in bucket.list("m/1")] == ["m/1/saved_model.pb"]


def test_a_larger_object_than_expected_is_not_read(bucket: Bucket) -> None:
    bucket.put("big", b"x" * 100_000)
    with pytest.raises(StoreError, match="more than 1000 bytes"):
        bucket.get("big", limit=1000)


@pytest.mark.parametrize("key", ["a//b", "../b", "a/./b", "a\nb"])
def test_what_is_no_name(key: str, bucket: Bucket) -> None:
    with pytest.raises(StoreError, match="no name"):
        bucket.put(key, b"")


@pytest.mark.parametrize("key", ["x y", "x%20y", "x#?&=+*~y", "ü", "\N{SNOWMAN}", "'quoted\""])
def test_odd_names(key: str, bucket: Bucket) -> None:
    bucket.put(f"odd/{key}", b"1")
    assert [entry.key for entry in bucket.list("odd")] == [f"odd/{key}"]
    assert bucket.get(f"odd/{key}") == b"1"


def test_no_such_bucket(s3: S3, s3_bucket: str) -> None:
    other = s3.open("s3://nowhere")
    for ask in (lambda: list(other.list()), lambda: other.get("a"), lambda: other.put("a", b"")):
        with pytest.raises(StoreError, match="no such bucket"):
            ask()


@pytest.mark.parametrize(
    ("key", "secret", "words"),
    [
        ("nobody", "anything", "does not know the access key"),
        (READER_KEY, "guess-0123456789", "does not belong to the access key"),
        (READER_KEY, READER_SECRET, "denies this"),
    ],
)
def test_credentials(
    key: str, secret: str, words: str, s3: S3, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    with pytest.raises(StoreError, match=words) as raised:
        s3.open(s3_bucket).put("a", b"")
    assert secret not in str(raised.value)


def test_anonymous(s3: S3, s3_bucket: str) -> None:
    with pytest.raises(StoreError, match="denies this"):
        s3.open(s3_bucket, anonymous=True).put("a", b"")


def test_nobody_at_the_endpoint(s3: S3, s3_bucket: str) -> None:
    with pytest.raises(StoreAway, match="nothing listens"):
        s3.open(s3_bucket, endpoint=f"http://127.0.0.1:{free_ports(1)[0]}").get("a")
    with pytest.raises(StoreError, match="speaks no TLS"):
        s3.open(s3_bucket, endpoint=s3.endpoint.replace("http", "https")).get("a")


def test_a_source_that_goes_away_is_no_object_that_is_not_there(bucket: Bucket) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * (6 << 20)
        raise FileNotFoundError(2, "No such file", "/srv/export")

    with pytest.raises(FileNotFoundError, match="/srv/export"):
        bucket.upload("big", pieces(), part=5 << 20)

"""Signatures over commit records: whoever changes a record, or has another key, is not believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.keys import write_key
from tests.s3 import S3
from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.mirror import mirror
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import InvalidRecord, Record, Signed, decode, encode
from tfsdeploy.store.said import Said
from tfsdeploy.store.signing import SigningKey, Untrusted, as_compared, check_signed, signer
from tfsdeploy.store.store import FileStore, Store, open_store
from tfsdeploy.store.tree import silent

Example = Callable[..., Path]


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey(write_key(tmp_path, "release")[0])


@pytest.fixture
def other(tmp_path: Path) -> SigningKey:
    return SigningKey(write_key(tmp_path, "other")[0])


@pytest.fixture
def record(key: SigningKey, example: Example, tmp_path: Path) -> Record:
    """A signed record, as it is read from a store."""
    store = FileStore(tmp_path / "models")
    store.publish("m", example(files={"assets/words": b"a"}), 7, said=Said(sign=key.sign))
    found = store.record("m", 7)
    assert found is not None
    return found


def test_a_signed_record_is_believed(record: Record, key: SigningKey, other: SigningKey) -> None:
    check_signed(record, [key.public])
    check_signed(record, [other.public, key.public])
    check_signed(record, ())
    with pytest.raises(Untrusted, match="a key that is not trusted here"):
        check_signed(record, [other.public])
    assert [signed.key for signed in other.sign(record).signed] == [key.public, other.public]
    assert len(key.sign(record).signed) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("by", "mallory@elsewhere"),
        ("committed", "2020-01-01T00:00:00+00:00"),
        ("tensorflow", "1.15"),
        ("signatures", {}),
        ("check", {"tensorflow": "2", "loadSeconds": 1, "memory": 1, "peakMemory": 1, "warmUp": 0, "golden": 0}),
        ("later", "a key that only a later version knows"),
    ],
)
def test_whatever_is_changed_is_refused(record: Record, key: SigningKey, name: str, value: Any) -> None:
    plain = json.loads(encode(record))
    changed = decode(json.dumps(plain | {name: value}), "here")
    with pytest.raises(Untrusted, match="it was changed since"):
        check_signed(changed, [key.public])
    del plain["signatures"]
    with pytest.raises(Untrusted):
        check_signed(decode(json.dumps(plain), "here"), [key.public])


def test_only_the_record_that_was_compared_is_signed(record: Record, key: SigningKey, other: SigningKey) -> None:
    sign = as_compared(key.sign, record)
    assert [signed.key for signed in sign(other.sign(record)).signed] == [other.public, key.public]
    with pytest.raises(Busy, match="it was not signed"):
        sign(replace(record, text=encode(record).replace('"by": "', '"by": "mallory, not ')))


def test_what_cannot_be_spelled_is_not_signed(record: Record, key: SigningKey) -> None:
    plain = json.loads(encode(record)) | {"later": "\ud800"}
    with pytest.raises(InvalidRecord, match="cannot be signed"):
        key.sign(decode(json.dumps(plain), "here"))


@pytest.mark.parametrize("signature", ["", "AAAA", "no base64 at all!", "A" * 88])
def test_what_is_no_signature_is_refused(record: Record, key: SigningKey, signature: str) -> None:
    plain = json.loads(encode(record)) | {"signed": [{"key": key.public, "signature": signature}]}
    with pytest.raises(Untrusted):
        check_signed(decode(json.dumps(plain), "here"), [key.public])


def test_a_signature_of_another_version_says_nothing(record: Record, key: SigningKey, example: Example) -> None:
    plain = json.loads(encode(record)) | {"version": 8}
    with pytest.raises(Untrusted, match="m/8"):
        check_signed(decode(json.dumps(plain), "here"), [key.public])


def test_keys_of_a_later_version_are_signed_with_the_rest(record: Record, key: SigningKey) -> None:
    later = decode(json.dumps(json.loads(encode(record)) | {"later": {"more": [1, "é"]}}), "here")
    signed = decode(encode(key.sign(later)), "here")
    assert json.loads(encode(signed))["later"] == {"more": [1, "é"]}
    check_signed(signed, [key.public])


def test_which_file_is_no_key(tmp_path: Path) -> None:
    private, public = write_key(tmp_path, "release")
    protected, _ = write_key(tmp_path, "protected", b"secret words")
    (tmp_path / "nonsense.pem").write_text("-----BEGIN PRIVATE KEY-----\nsecret words\n-----END PRIVATE KEY-----\n")
    for file, words in (
        (tmp_path / "none.pem", "cannot be read"),
        (protected, "protected by a passphrase"),
        (tmp_path / "release.pub.pem", "no private key"),
        (tmp_path / "nonsense.pem", "no private key"),
    ):
        with pytest.raises(UsageError, match=words) as refused:
            SigningKey(file)
        assert "secret words" not in str(refused.value)
    with pytest.raises(UsageError, match="does not trust this key"):
        signer(private, [write_key(tmp_path, "other")[1]])
    assert signer(private, [public])


def test_options_that_cannot_be_understood_do_not_mean_that_all_is_trusted(tmp_path: Path) -> None:
    for nonsense in ("ed25519:A", {"a": 1}, 7, [7]):
        with pytest.raises(UsageError):
            open_store(tmp_path.as_uri(), {"require_signature": nonsense})
    assert open_store(tmp_path.as_uri(), {"require_signature": None}).trusted == ()


@pytest.fixture(params=["file", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Store]:
    def made(name: str, *trusted: str) -> Store:
        if request.param == "file":
            return FileStore(tmp_path / name, trusted)
        server: S3 = request.getfixturevalue("s3")
        return ObjectStore(server.open(f"{request.getfixturevalue('s3_bucket')}/{name}"), trusted)

    return made


def test_a_store_shows_no_record_that_is_not_signed(
    make: Callable[..., Store], example: Example, key: SigningKey, other: SigningKey
) -> None:
    anybody, strict = make("models"), make("models", key.public)
    anybody.publish("m", example(), 1)
    anybody.publish("m", example(), 2, said=Said(sign=other.sign))
    anybody.publish("m", example(), 3, said=Said(sign=key.sign))
    for version in (1, 2):
        with pytest.raises(Untrusted):
            strict.record("m", version)
        with pytest.raises(Untrusted):
            mirror(strict, make("elsewhere"), "m", version)
    assert strict.record("m", 3) == anybody.record("m", 3)
    # A copy has the same record, and is believed where the first one was.
    mirror(strict, make("elsewhere"), "m", 3)
    assert make("elsewhere", key.public).record("m", 3) == strict.record("m", 3)
    mirror(anybody, make("elsewhere"), "m", 1)
    # What is there already can be signed.
    assert strict.sign("m", 1, key.sign).signed == strict.record("m", 1).signed  # type: ignore[union-attr]
    assert strict.versions("m") == [1, 2, 3]
    # A copy that was made before gets the signature with the next run.
    assert mirror(strict, make("elsewhere"), "m", 1)[1] is True
    assert make("elsewhere", key.public).record("m", 1) == strict.record("m", 1)
    with pytest.raises(UsageError, match="no such version"):
        strict.sign("m", 9, key.sign)


def test_an_adopted_version_is_signed(make: Callable[..., Store], example: Example, key: SigningKey) -> None:
    store = make("models", key.public)
    if isinstance(store, FileStore):
        shutil.copytree(example(), store.root / "m" / "5")
    else:
        assert isinstance(store, ObjectStore)
        store.bucket.put("m/5/saved_model.pb", (example() / "saved_model.pb").read_bytes())
    store.adopt("m", 5, said=Said(sign=key.sign))
    found = store.record("m", 5)
    assert found is not None
    assert [signed.key for signed in found.signed] == [key.public]


def test_a_replica_fetches_what_is_signed_alone(
    s3: S3, s3_bucket: str, example: Example, key: SigningKey, tmp_path: Path
) -> None:
    anybody, strict = ObjectStore(s3.open(s3_bucket)), ObjectStore(s3.open(s3_bucket), [key.public])
    anybody.publish("m", example(), 1)
    # Fetched by a replica that did not ask for signatures, into the folder that all share.
    trusting, fetcher = Fetcher(anybody, Cache(tmp_path / "cache")), Fetcher(strict, Cache(tmp_path / "cache"))
    trusting.cache.hold([("m", 1)])
    assert trusting.bring("m", 1, None, silent) is not None
    with pytest.raises(TfsdeployError, match="not signed"):
        fetcher.bring("m", 1, None, silent)
    anybody.sign("m", 1, key.sign)
    heard: list[tuple[int, float]] = []
    fetcher.fetched = lambda *seen: heard.append(seen)
    assert fetcher.bring("m", 1, None, silent) is None
    assert heard == []  # the bytes are there: only the record is new
    assert fetcher.local.record("m", 1) == strict.record("m", 1)
    trusting.cache.hold(())


def test_records_without_signatures_are_read_as_ever(record: Record) -> None:
    plain = json.loads(encode(record))
    for name in ("signed", "check", "signatures"):
        del plain[name]
    old = decode(json.dumps(plain), "here")
    assert (old.signed, old.check, old.signatures) == ((), None, None)
    for nonsense in ([{"key": 7}], "text", [7]):
        with pytest.raises(TfsdeployError):
            decode(json.dumps(plain | {"signed": nonsense}), "here")
    assert Signed("a", "b") == decode(json.dumps(plain | {"signed": [{"key": "a", "signature": "b"}]}), "x").signed[0]

"""A copy of a version is the version: the same number, bytes and record, between stores of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s3 import S3
from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.store.mirror import mirror
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.store import FileStore, Store

KINDS = ("file", "s3")


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str], Store]:
    def made(kind: str, name: str) -> Store:
        if kind == "file":
            return FileStore(tmp_path / name)
        server: S3 = request.getfixturevalue("s3")
        return ObjectStore(server.open(f"{request.getfixturevalue('s3_bucket')}/{name}"))

    return made


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_a_copy_is_the_version(
    make: Callable[[str, str], Store], example: Callable[..., Path], here: str, there: str
) -> None:
    source, target = make(here, "source"), make(there, "target")
    record, _ = source.publish("m", example(files={"assets/words.txt": b"a\nb\n"}), 7)
    assert mirror(source, target, "m", 7) == (record, False)
    assert target.record("m", 7) == record
    target.verify(record)
    assert mirror(source, target, "m", 7) == (record, True)
    assert (target.versions("m"), target.uncommitted("m")) == ([7], [])
    other, _ = source.publish("m", example(offset=9.0), 8)
    target.publish("m", example(offset=10.0), 8)
    with pytest.raises(Busy, match="published other bytes"):
        mirror(source, target, "m", 8)
    with pytest.raises(UsageError, match="no committed version 9"):
        mirror(source, target, "m", 9)
    assert source.record("m", 8) == other


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("here", KINDS)
def test_spoilt_bytes_are_not_spread(
    make: Callable[[str, str], Store], example: Callable[..., Path], here: str, there: str
) -> None:
    source, target = make(here, "source"), make(there, "target")
    source.publish("m", example(files={"assets/words.txt": b"a\nb\n"}), 7)
    if isinstance(source, FileStore):
        (source.version_path("m", 7) / "assets" / "words.txt").write_bytes(b"a\nc\n")
    else:
        assert isinstance(source, ObjectStore)
        source.bucket.put("m/7/assets/words.txt", b"a\nc\n")
    with pytest.raises(TfsdeployError):
        mirror(source, target, "m", 7)
    assert target.record("m", 7) is None
    assert target.versions("m") == []

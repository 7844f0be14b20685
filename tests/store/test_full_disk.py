"""A disk that is too small, and one that fills while a version comes: a small one of the test's own."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse import works
from tests.s3 import S3
from tests.store.test_fetch import write_model
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.cache import SPARE_BYTES, Cache
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.tree import silent
from tfsdeploy.store.verify import verify

pytestmark = pytest.mark.skipif(not works(), reason="only root can mount a disk of its own")

ROOM = 12 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with little room beside what must stay free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPARE_BYTES + ROOM}", "small", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def write_until_it_is_full(file: Path) -> None:
    with file.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(1 << 20))


@pytest.fixture
def store(s3: S3, s3_bucket: str, tmp_path: Path) -> ObjectStore:
    """A store with version 1 that fits, and version 2 that does not."""
    made = ObjectStore(s3.open(s3_bucket))
    made.publish("m", write_model(tmp_path / "one", 1, (ROOM // 2,)), 1)
    made.publish("m", write_model(tmp_path / "two", 2, (ROOM + 1,)), 2)
    return made


def test_what_does_not_fit_is_refused_before_the_first_byte(store: ObjectStore, disk: Path) -> None:
    with pytest.raises(TfsdeployError, match=r"m/2 has \d+ bytes, and there is room for \d+ beside 0 bytes"):
        Fetcher(store, Cache(disk)).bring("m", 2, None, silent)
    assert sum(path.stat().st_size for path in disk.rglob("*") if path.is_file()) == 0


def test_a_disk_that_fills_meanwhile(store: ObjectStore, disk: Path) -> None:
    """Somebody else takes the room that was set aside: half a version is never visible, and what is there counts."""

    def fill(done: int, total: int) -> None:
        if total > done >= total // 3 and not (disk / "other").exists():
            with pytest.raises(OSError, match="No space left"):
                write_until_it_is_full(disk / "other")

    fetcher = Fetcher(store, Cache(disk / "node"))
    with pytest.raises(OSError, match="No space left") as full:
        fetcher.bring("m", 1, None, fill)
    assert full.value.errno == errno.ENOSPC
    assert fetcher.local.versions("m") == fetcher.local.uncommitted("m") == []
    (disk / "other").unlink()
    record = fetcher.bring("m", 1, None, silent)
    assert record is not None
    verify(fetcher.local.version_path("m", 1), record)

"""What a replica fetches: nothing twice, nothing that does not fit or is not true; and nothing in use is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.s3 import S3
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.example import write_example
from tfsdeploy.store.fetch import RANGE, Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import Record
from tfsdeploy.store.tree import silent
from tfsdeploy.store.verify import Damaged, verify

SIZE = 3 * RANGE + 17


def write_model(folder: Path, seed: int, sizes: tuple[int, ...]) -> Path:
    """A SavedModel with files of random bytes beside it."""
    write_example(folder, offset=float(seed))
    (folder / "assets").mkdir()
    for number, size in enumerate(sizes):
        (folder / "assets" / f"file-{number}").write_bytes(os.urandom(size))
    return folder


@pytest.fixture
def empty(s3: S3, s3_bucket: str) -> ObjectStore:
    """A store of the test's own."""
    return ObjectStore(s3.open(s3_bucket))


@pytest.fixture
def store(empty: ObjectStore, tmp_path: Path) -> ObjectStore:
    """A store with versions 1, 2 and 3 of a model, each of a bit more than three ranges."""
    for version in (1, 2, 3):
        empty.publish("m", write_model(tmp_path / f"source-{version}", version, (5, 0, SIZE)), version)
    return empty


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all objects that the store is asked for."""
    keys: list[str] = []
    for name in ("get_with_stat", "get_range"):
        method = getattr(Bucket, name)

        def told(bucket: Bucket, key: str, *words: int, method: object = method) -> object:
            keys.append(key)
            return method(bucket, key, *words)  # type: ignore[operator]

        monkeypatch.setattr(Bucket, name, told)
    return keys


def recorded(store: ObjectStore, version: int) -> Record:
    """A version's commit record."""
    record = store.record("m", version)
    assert record is not None
    return record


def bring(fetcher: Fetcher, store: ObjectStore, version: int) -> None:
    """Fetch a version and look at every byte of it."""
    record = recorded(store, version)
    fetcher.bring("m", version, record.digest, silent)
    verify(fetcher.local.version_path("m", version), record)


def test_what_is_there_is_not_asked_for_again(store: ObjectStore, tmp_path: Path, asked: list[str]) -> None:
    """By a second replica of the machine, or by the same one when it starts again: the store may be away."""
    bring(Fetcher(store, tmp_path / "here"), store, 1)
    digest = recorded(store, 1).digest
    asked.clear()
    assert Fetcher(store, tmp_path / "here").bring("m", 1, digest, silent) is None
    assert asked == []


def test_two_replicas_fetch_once(store: ObjectStore, tmp_path: Path, asked: list[str]) -> None:
    """Whoever comes second waits."""
    fetchers = [Fetcher(store, tmp_path / "here") for _ in range(3)]
    threads = [threading.Thread(target=fetcher.bring, args=("m", 1, None, silent)) for fetcher in fetchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked.count("m/1/saved_model.pb") == 1
    verify(tmp_path / "here" / "m" / "1", recorded(store, 1))


def test_room_is_made_of_what_nobody_uses(store: ObjectStore, tmp_path: Path) -> None:
    size = recorded(store, 1).bytes
    fetcher, other = (Fetcher(store, tmp_path / "here", limit=2 * size + 100) for _ in range(2))
    fetcher.hold({("m", 1)})
    bring(fetcher, store, 1)
    other.hold({("m", 2)})
    bring(other, store, 2)
    with pytest.raises(TfsdeployError, match=r"m/3 has \d+ bytes, and there is room for \d+ beside \d+ bytes") as full:
        bring(fetcher, store, 3)
    assert "serving.disk" in full.value.hint
    assert fetcher.local.versions("m") == [1, 2]
    other.hold(set())
    bring(fetcher, store, 3)
    assert fetcher.local.versions("m") == [1, 3]
    fetcher.hold(set())


def test_the_longest_unused_goes_first(store: ObjectStore, tmp_path: Path) -> None:
    fetcher = Fetcher(store, tmp_path / "here", limit=2 * recorded(store, 1).bytes + 100)
    for version in (1, 2):
        fetcher.hold({("m", version)})
        bring(fetcher, store, version)
    fetcher.hold(set())
    os.utime(tmp_path / "here" / ".locks" / "m.1.use", (2e9, 2e9))
    bring(fetcher, store, 3)
    assert fetcher.local.versions("m") == [1, 3]


def test_an_interrupted_fetch_goes_on(store: ObjectStore, tmp_path: Path, asked: list[str]) -> None:
    """Killed in the middle: nothing is visible, and whole files are not fetched again."""
    record = recorded(store, 1)

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > RANGE:
            raise Enough

    with pytest.raises(Enough):
        Fetcher(store, tmp_path / "here").bring("m", 1, record.digest, stop)
    assert Fetcher(store, tmp_path / "here").local.versions("m") == []
    asked.clear()
    bring(Fetcher(store, tmp_path / "here"), store, 1)
    assert "m/1/assets/file-0" not in asked


def test_killed_at_any_moment(store: ObjectStore, tmp_path: Path, s3: S3) -> None:
    """SIGKILL after so many ranges: what is visible afterwards is whole."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tfsdeploy.store.store import open_store\n"
        "from tfsdeploy.store.fetch import Fetcher\n"
        "left = int(sys.argv[4])\n"
        "def heard(done, total):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0: os.kill(os.getpid(), 9)\n"
        "store = open_store(sys.argv[1], {'endpoint': sys.argv[2]})\n"
        "Fetcher(store, Path(sys.argv[3])).bring('m', 1, None, heard)\n"
    )
    for ranges in range(7):
        folder = tmp_path / f"killed-{ranges}"
        words = [sys.executable, "-c", code, store.url, s3.endpoint, str(folder), str(ranges)]
        done = subprocess.run(words, check=False)
        fetcher = Fetcher(store, folder)
        assert (done.returncode == 0) == (fetcher.local.versions("m") == [1])
        bring(fetcher, store, 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda bucket: bucket.put("m/1/assets/file-0", b"12345"), "other bytes"),
        (lambda bucket: bucket.put("m/1/assets/file-0", b"1"), "has 1 bytes"),
        (lambda bucket: bucket.delete(["m/1/assets/file-0"]), "lacks a file"),
        (lambda bucket: bucket.put("m/1/tfsdeploy.json", b"{" + 100 * b" "), "not a commit record"),
        (lambda bucket: bucket.delete(["m/1/tfsdeploy.json"]), "no such version"),
    ],
)
def test_what_is_not_true_is_not_there(empty: ObjectStore, tmp_path: Path, spoil: object, said: str) -> None:
    store = empty
    record, _ = store.publish("m", write_model(tmp_path / "source", 1, (5,)), 1)
    spoil(store.bucket)  # type: ignore[operator]
    fetcher = Fetcher(store, tmp_path / "here")
    with pytest.raises(TfsdeployError, match=said):
        fetcher.bring("m", 1, record.digest, silent)
    assert fetcher.local.versions("m") == []


def test_a_number_that_holds_other_bytes_than_the_release_names(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="the release names sha256:00"):
        Fetcher(store, tmp_path / "here").bring("m", 1, "sha256:00", silent)

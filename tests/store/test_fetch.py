"""What a replica fetches: nothing twice, nothing that does not fit or is not true; and nothing in use is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3 import S3
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.example import write_example
from tfsdeploy.store.fetch import PART, Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.ranges import LARGEST_RANGE, LARGEST_REQUEST, LEAST_RANGE, RANGE, Pace
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
    for name in ("get_with_stat", "pieces"):
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
    bring(Fetcher(store, Cache(tmp_path / "here")), store, 1)
    digest = recorded(store, 1).digest
    asked.clear()
    assert Fetcher(store, Cache(tmp_path / "here")).bring("m", 1, digest, silent) is None
    assert asked == []


def test_two_replicas_fetch_once(store: ObjectStore, tmp_path: Path, asked: list[str]) -> None:
    """Whoever comes second waits."""
    fetchers = [Fetcher(store, Cache(tmp_path / "here")) for _ in range(3)]
    threads = [threading.Thread(target=fetcher.bring, args=("m", 1, None, silent)) for fetcher in fetchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked.count("m/1/saved_model.pb") == 1
    verify(tmp_path / "here" / "m" / "1", recorded(store, 1))


def test_room_is_made_of_what_nobody_uses(store: ObjectStore, tmp_path: Path) -> None:
    size = recorded(store, 1).bytes
    fetcher, other = (Fetcher(store, Cache(tmp_path / "here", 2 * size + 100)) for _ in range(2))
    fetcher.cache.hold({("m", 1)})
    bring(fetcher, store, 1)
    other.cache.hold({("m", 2)})
    bring(other, store, 2)
    with pytest.raises(TfsdeployError, match=r"m/3 has \d+ bytes, and there is room for \d+ beside \d+ bytes") as full:
        bring(fetcher, store, 3)
    assert "serving.disk" in full.value.hint
    assert fetcher.local.versions("m") == [1, 2]
    other.cache.hold(set())
    bring(fetcher, store, 3)
    assert fetcher.local.versions("m") == [1, 3]
    fetcher.cache.hold(set())


def test_the_longest_unused_goes_first(store: ObjectStore, tmp_path: Path) -> None:
    fetcher = Fetcher(store, Cache(tmp_path / "here", 2 * recorded(store, 1).bytes + 100))
    for version in (1, 2):
        fetcher.cache.hold({("m", version)})
        bring(fetcher, store, version)
    fetcher.cache.hold(set())
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
        Fetcher(store, Cache(tmp_path / "here")).bring("m", 1, record.digest, stop)
    assert Fetcher(store, Cache(tmp_path / "here")).local.versions("m") == []
    (place,) = (tmp_path / "here" / "m").glob(".fetching-*")
    # Which ones are whole depends on who was quicker; the large one, which comes last, is not.
    whole = {file.path for file in record.files if file.size and (place / file.path).exists()}
    assert whole
    asked.clear()
    bring(Fetcher(store, Cache(tmp_path / "here")), store, 1)
    assert not {f"m/1/{path}" for path in whole} & {*asked}


def test_killed_at_any_moment(store: ObjectStore, tmp_path: Path, s3: S3) -> None:
    """SIGKILL after so many ranges: what is visible afterwards is whole."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tfsdeploy.store.store import open_store\n"
        "from tfsdeploy.store.cache import Cache\n"
        "from tfsdeploy.store.fetch import Fetcher\n"
        "left = int(sys.argv[4])\n"
        "def heard(done, total):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0: os.kill(os.getpid(), 9)\n"
        "store = open_store(sys.argv[1], {'endpoint': sys.argv[2]})\n"
        "Fetcher(store, Cache(Path(sys.argv[3]))).bring('m', 1, None, heard)\n"
    )
    for ranges in range(7):
        folder = tmp_path / f"killed-{ranges}"
        words = [sys.executable, "-c", code, store.url, s3.endpoint, str(folder), str(ranges)]
        done = subprocess.run(words, check=False)
        fetcher = Fetcher(store, Cache(folder))
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
    fetcher = Fetcher(store, Cache(tmp_path / "here"))
    with pytest.raises(TfsdeployError, match=said):
        fetcher.bring("m", 1, record.digest, silent)
    assert fetcher.local.versions("m") == []


def test_a_number_that_holds_other_bytes_than_the_release_names(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="the release names sha256:00"):
        Fetcher(store, Cache(tmp_path / "here")).bring("m", 1, "sha256:00", silent)


def part_of(folder: Path, name: str) -> Path:
    """What there is of a file that comes."""
    (part,) = folder.glob(f"m/.fetching-*/assets/{name}{PART}")
    return part


def stopped_after(store: ObjectStore, folder: Path, size: int) -> None:
    """Fetch version 1 until more than so many bytes are there."""

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > size:
            raise Enough

    with pytest.raises(Enough):
        Fetcher(store, Cache(folder)).bring("m", 1, None, stop)


def test_a_large_file_goes_on_where_it_was_interrupted(
    store: ObjectStore, tmp_path: Path, asked_bytes: list[tuple[str, int]]
) -> None:
    stopped_after(store, tmp_path / "here", 2 * RANGE)
    there = part_of(tmp_path / "here", "file-2").stat().st_size
    assert there >= RANGE
    asked_bytes.clear()
    bring(Fetcher(store, Cache(tmp_path / "here")), store, 1)
    assert sum(size for key, size in asked_bytes if key.endswith("file-2")) == SIZE - there


@pytest.fixture
def asked_bytes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The keys and sizes of all ranges that the store is asked for."""
    asked: list[tuple[str, int]] = []
    method = Bucket.pieces

    def told(bucket: Bucket, key: str, start: int, end: int, etag: str | None = None) -> object:
        asked.append((key, end - start))
        return method(bucket, key, start, end, etag)

    monkeypatch.setattr(Bucket, "pieces", told)
    return asked


@pytest.mark.parametrize("harm", [lambda part: os.truncate(part, 7), lambda part: part.write_bytes(b"?" * (SIZE + 1))])
def test_what_an_interrupted_fetch_has_left_may_be_wrong(store: ObjectStore, tmp_path: Path, harm: object) -> None:
    """After a loss of power the end of a file may be anything."""
    stopped_after(store, tmp_path / "here", 2 * RANGE)
    part = part_of(tmp_path / "here", "file-2")
    with part.open("r+b") as stream:
        stream.write(b"not the first bytes")
    harm(part)  # type: ignore[operator]
    bring(Fetcher(store, Cache(tmp_path / "here")), store, 1)


@pytest.mark.parametrize("link", [False, True])
def test_what_somebody_else_put_beside_it_is_not_published(store: ObjectStore, tmp_path: Path, link: bool) -> None:
    fetcher = Fetcher(store, Cache(tmp_path / "machine"))
    stopped_after(store, tmp_path / "machine", RANGE)
    more = part_of(tmp_path / "machine", "file-2").parents[1] / "assets.extra"
    if link:
        more.symlink_to(tmp_path)
    else:
        more.mkdir()
        (more / "tf_serving_warmup_requests").write_bytes(b"nobody published them")
    with pytest.raises(Damaged, match=r"assets\.extra"):
        bring(fetcher, store, 1)
    assert fetcher.local.versions("m") == []
    bring(fetcher, store, 1)


def test_bytes_that_the_way_has_changed_are_asked_for_again(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[str] = []
    method = Bucket.pieces

    def change_once(bucket: Bucket, key: str, start: int, end: int, etag: str | None = None) -> Iterator[bytes]:
        for piece in method(bucket, key, start, end, etag):
            first = key.endswith("file-2") and not changed
            changed.extend([key] * first)
            yield b"?" * len(piece) if first else piece

    monkeypatch.setattr(Bucket, "pieces", change_once)
    bring(Fetcher(store, Cache(tmp_path / "here")), store, 1)
    assert changed


def test_a_copy_that_rotted_is_fetched_anew_though_others_use_it(store: ObjectStore, tmp_path: Path) -> None:
    fetcher, other = (Fetcher(store, Cache(tmp_path / "here")) for _ in range(2))
    for one in (fetcher, other):
        one.cache.hold({("m", 1)})
    bring(fetcher, store, 1)
    path = tmp_path / "here" / "m" / "1" / "assets" / "file-2"
    with path.open("r+b") as stream, path.open("rb") as server:
        stream.write(b"rot")
        stream.flush()
        assert fetcher.mend("m", 1, None, silent) == recorded(store, 1)
        assert server.read(3) == b"rot", "a server that has it open keeps what it has"
    verify(tmp_path / "here" / "m" / "1", recorded(store, 1))
    assert other.mend("m", 1, None, silent) is None, "somebody else has mended it"
    for one in (fetcher, other):
        one.cache.hold(())


def test_two_fetches_do_not_take_the_same_room(store: ObjectStore, tmp_path: Path) -> None:
    """The second one is refused while the first one comes, and told by how much; not after it has filled the disk."""
    size = recorded(store, 1).bytes
    first, second = (Fetcher(store, Cache(tmp_path / "here", size + size // 2)) for _ in range(2))
    refused: list[str] = []

    def try_another(done: int, total: int) -> None:
        if 0 < done < total and not refused:
            with pytest.raises(TfsdeployError, match="that are being fetched") as full:
                second.bring("m", 2, None, silent)
            refused.append(full.value.message)

    first.bring("m", 1, None, try_another)
    assert refused
    assert f"m/2 has {recorded(store, 2).bytes} bytes" in refused[0]
    second.bring("m", 2, None, silent)
    assert second.local.versions("m") == [2], "the first one is in nobody's use"


def test_what_killed_processes_left_is_removed(store: ObjectStore, tmp_path: Path) -> None:
    """A fetch that nobody goes on with, when its room is needed or a day has gone; what was being removed, at once."""
    stopped_after(store, tmp_path / "here", RANGE)
    half_removed = tmp_path / "here" / "m" / ".removed-9-1-1"
    half_removed.mkdir()
    bring(Fetcher(store, Cache(tmp_path / "here")), store, 2)
    (left,) = (tmp_path / "here" / "m").glob(".fetching-*")
    assert not half_removed.exists()
    os.utime(left, (0, 0))
    bring(Fetcher(store, Cache(tmp_path / "here")), store, 3)
    assert not left.exists()
    fetcher = Fetcher(store, Cache(tmp_path / "small", recorded(store, 2).bytes + RANGE))
    stopped_after(store, tmp_path / "small", 2 * RANGE)
    bring(fetcher, store, 2)
    assert not list((tmp_path / "small" / "m").glob(".fetching-*"))


@pytest.mark.parametrize("rate", [1 << 20, 10 << 20, 1 << 30])
def test_a_bounded_bandwidth_is_kept(rate: int) -> None:
    """However many ask: by a clock of the test's, from any moment on no more than the rate and one range."""
    pace, now, begun = Pace(rate), 0.0, []
    for _ in range(1000):
        begun.append(now + pace.delay(pace.range_bytes, now))
        now += 0.001
    for number in (0, 10, 500):
        seconds = begun[-1] - begun[number]
        assert (len(begun) - 1 - number) * pace.range_bytes <= rate * (seconds + 1e-6)
    assert pace.range_bytes <= rate
    assert Pace(None).delay(RANGE, 1.0) == 0.0


def test_requests_suit_the_line() -> None:
    """Large ones where bytes come quickly, small ones where they do not; a file's short end says nothing."""
    pace = Pace(None)
    pace.took(1, 0.001)
    assert pace.range_bytes == pace.request_bytes == RANGE
    pace.took(RANGE, 0.01)
    assert pace.range_bytes == LARGEST_RANGE
    assert pace.request_bytes == LARGEST_REQUEST
    pace.took(RANGE, 4.0)
    assert pace.range_bytes == RANGE // 2
    assert pace.request_bytes == 5 * RANGE
    pace.took(RANGE, 1000.0)
    assert pace.range_bytes == pace.request_bytes == RANGE // 2
    bounded = Pace(6 * LEAST_RANGE)
    bounded.took(RANGE, 0.01)
    assert bounded.range_bytes == bounded.request_bytes == LEAST_RANGE


def test_what_fails_for_one_file_ends_the_others(store: ObjectStore, tmp_path: Path) -> None:
    """Two files come at a time: the error of the one is told, and nothing more is asked for the other."""
    store.bucket.put("m/1/assets/file-0", b"1")
    heard: list[int] = []
    with pytest.raises(Damaged, match="file-0 has 1 bytes"):
        Fetcher(store, Cache(tmp_path / "here")).bring("m", 1, None, lambda done, total: heard.append(done))
    assert heard[-1] < recorded(store, 1).bytes


def test_a_fetch_of_bounded_bandwidth(store: ObjectStore, tmp_path: Path) -> None:
    bring(Fetcher(store, Cache(tmp_path / "here"), bandwidth=200 << 20), store, 1)

"""Stores and node caches on NFS, as two nodes see them: what one has done the other finds, and locks hold for both."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.harness import wait
from tests.gcs import Gcs
from tests.nfs.server import NfsServer
from tests.store import publisher
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.publish import adopt, publish
from tfsdeploy.store.record import Record
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.tree import silent
from tfsdeploy.store.verify import Damaged, VerifiedCache, verify

pytestmark = pytest.mark.nfs

Nodes = tuple[Path, Path]

HOLD = (
    "import sys; from pathlib import Path; from tfsdeploy.store.cache import Cache; cache = Cache(Path(sys.argv[1]));"
)
HOLD += "assert cache.hold({('m', 1)}); print('held', flush=True); input()"


@pytest.fixture
def nodes(nfs: NfsServer, tmp_path: Path) -> Iterator[Nodes]:
    """The same folder, mounted on two nodes."""
    with nfs.mounted(tmp_path / "one") as one, nfs.mounted(tmp_path / "other") as other:
        yield one, other


def seen(root: Path, version: int) -> Record:
    """A version's commit record, as soon as a node has forgotten that there was none."""
    record = wait(f"{root} sees {version}", lambda: FileStore(root).record("ranker", version))
    assert isinstance(record, Record)
    return record


def test_publishers_on_two_nodes_each_get_their_own_number(
    nodes: Nodes, nfs: NfsServer, example: Callable[..., Path]
) -> None:
    begun = [publisher.start(nodes[number % 2] / "ranker", example(float(number)), None) for number in range(4)]
    for process in begun:
        publisher.go(process)
    told = [publisher.told(process) for process in begun]
    assert sorted(one["version"] for one in told) == [1, 2, 3, 4]
    for one in told:
        for root in (*nodes, nfs.behind):
            record = seen(root, one["version"])
            assert record.digest == one["digest"]
            verify(root / "ranker" / str(one["version"]), record)
    assert {path.name for path in (nfs.behind / "ranker").iterdir()} == {"1", "2", "3", "4"}


def test_a_version_that_was_removed_is_found_on_no_node(
    nodes: Nodes, nfs: NfsServer, example: Callable[..., Path]
) -> None:
    """Also where a model server has it open, whose files NFS renames until it lets go of them."""
    one, other = (FileStore(node) for node in nodes)
    one.publish("ranker", example(1.0), 1)
    with (nodes[0] / "ranker" / "1" / "saved_model.pb").open("rb") as opened:
        one.discard("ranker", 1)
        assert opened.read()
    assert one.versions("ranker") == []
    one.publish("ranker", example(2.0), 1)
    other.verify(seen(nodes[1], 1))
    one.publish("ranker", example(3.0), 2)
    assert sorted(path.name for path in (nfs.behind / "ranker").iterdir()) == ["1", "2"]


def test_an_interrupted_push_is_continued_on_another_node(
    nodes: Nodes, nfs: NfsServer, example: Callable[..., Path]
) -> None:
    source, behind = example(1.0, {"variables/part": b"x" * 2_500_000}), nfs.behind / "ranker"

    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(nodes[0] / "ranker", "ranker", source, None, interrupt)
    (left,) = behind.glob(".staging-*/version/variables/part")
    there = left.stat().st_ino
    record, _ = publish(nodes[1] / "ranker", "ranker", source, None)
    assert (record.version, (behind / "1" / "variables" / "part").stat().st_ino) == (1, there)
    assert [path.name for path in behind.iterdir()] == ["1"]
    for root in (*nodes, nfs.behind):
        verify(root / "ranker" / "1", record)


def test_adopting_on_two_nodes_gives_one_record(nodes: Nodes, nfs: NfsServer, example: Callable[..., Path]) -> None:
    folder = nfs.behind / "ranker"
    publish(folder, "ranker", example(1.0), 1)
    (folder / "1" / RECORD_FILE).unlink()
    records: list[Record] = []
    threads = [
        threading.Thread(target=lambda node=node: records.append(adopt(node / "ranker", "ranker", 1)[0]))  # type: ignore[misc]
        for node in nodes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records[0] == records[1]


def test_what_was_verified_is_known_after_another_mount(
    nfs: NfsServer, tmp_path: Path, example: Callable[..., Path]
) -> None:
    """Of the same server; what was written since is not."""
    publish(nfs.behind / "ranker", "ranker", example(1.0), 1)
    file, at = tmp_path / "verified.json", tmp_path / "mount"
    for turn in ("verified", "known", "server anew"):
        if turn == "server anew":
            nfs.end()
            nfs.start()
        with nfs.mounted(at):
            record = FileStore(at).record("ranker", 1)
            assert record is not None
            cache = VerifiedCache(file)
            assert cache.knows(at / "ranker" / "1", record) is (turn != "verified")
            cache.verify(at / "ranker" / "1", record)
    content = (nfs.behind / "ranker" / "1" / "saved_model.pb").read_bytes()
    (nfs.behind / "ranker" / "1" / "saved_model.pb").write_bytes(content[:-1] + b"?")
    with nfs.mounted(at), pytest.raises(Damaged, match="other bytes"):
        VerifiedCache(file).verify(at / "ranker" / "1", record)


def test_a_server_that_is_away_is_no_rot(nfs: NfsServer, tmp_path: Path, example: Callable[..., Path]) -> None:
    """A soft mount says of both that input or output failed."""
    with nfs.mounted(tmp_path / "mount", 10.0) as at:
        store = FileStore(at)
        record, _ = store.publish("ranker", example(1.0), 1)
        nfs.end()
        with pytest.raises(TfsdeployError, match="the store is away: Input/output error") as away:
            store.verify(record)
        assert not isinstance(away.value, Damaged)


def test_a_node_cache_of_two_nodes(nodes: Nodes, gcs: Gcs, example: Callable[..., Path]) -> None:
    """What one node fetches the other finds; what any process of either uses stays, until that process ends."""
    store = ObjectStore(gcs.open(f"{gcs.make_bucket('models')}/prod"))
    records = [store.publish("m", example(float(number)), number)[0] for number in (1, 2)]
    room = records[0].bytes + records[1].bytes - 1
    caches = [Cache(node / "cache", room) for node in nodes]
    fetchers = [Fetcher(store, cache) for cache in caches]
    brought: list[Record | None] = []
    threads = [
        threading.Thread(target=lambda fetcher=fetcher: brought.append(fetcher.bring("m", 1, None, silent)))  # type: ignore[misc]
        for fetcher in fetchers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one is None for one in brought) == [False, True]
    for node in nodes:
        verify(node / "cache" / "m" / "1", records[0])
    argv = [sys.executable, "-c", HOLD, str(nodes[0] / "cache")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not caches[1].remove(("m", 1))
        with pytest.raises(TfsdeployError, match="beside"):
            fetchers[1].bring("m", 2, None, silent)
        holder.kill()
    fetchers[1].bring("m", 2, None, silent)
    assert [FileStore(node / "cache").versions("m") for node in nodes] == [[2], [2]]

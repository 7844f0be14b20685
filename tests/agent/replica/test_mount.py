"""A store that is a mount, and the mount glitches under what serves: told in words, and nothing is taken away."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import pytest

from tests.agent.replica.unit import Unit, unit
from tests.fuse import works
from tests.fuse_mount import Mount, mounted
from tfsdeploy.agent.replica.files import VersionFiles
from tfsdeploy.agent.replica.look import StoreLook, trouble
from tfsdeploy.agent.replica.metrics import Metrics
from tfsdeploy.agent.replica.stored import MOST_LOOKS
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.protocol.agents import State
from tfsdeploy.store.bucket import open_bucket
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.verify import VerifiedCache

pytestmark = pytest.mark.skipif(not works(), reason="only root can mount, and only where there is /dev/fuse")


@pytest.fixture
def mount(tmp_path: Path, samples: Path) -> Iterator[Mount]:
    """A mounted store with versions 1 and 2."""
    behind = FileStore(tmp_path / "behind")
    for version in (1, 2):
        behind.publish("m", samples / f"constant-{version}", version)
    (tmp_path / "home" / "models").mkdir(parents=True)
    with mounted(behind.root, tmp_path / "home" / "models") as mount:
        yield mount


@pytest.fixture
def replica(mount: Mount, tmp_path: Path, samples: Path) -> Iterator[Unit]:
    """A replica that serves version 1 from it; its server is like the original at its most awkward."""
    with unit(tmp_path / "home", samples, "--like-tfs") as made:
        made.release(m={1: _digest(tmp_path, 1)})
        made.start()
        made.until(1, State.AVAILABLE)
        yield made
        mount.set("stale")  # Nobody waits for it any more.


def _digest(tmp_path: Path, version: int) -> str:
    record = FileStore(tmp_path / "behind").record("m", version)
    assert record is not None
    return record.digest


def test_a_mount_that_glitches_takes_nothing(replica: Unit, mount: Mount, tmp_path: Path) -> None:
    """Empty, stale, hanging: what is loaded serves on, what is not waits and says why, and follows when it is back."""
    for state, words in (
        ("empty", "lacks m/1"),
        ("stale", "Stale file handle"),
        ("hangs", "has not answered for 10 s"),
    ):
        mount.set(state)  # type: ignore[arg-type]
        replica.wait(f"{state}: words", lambda words=words: words in str(_error(replica)))  # type: ignore[misc]
        status = replica.status()
        assert status is not None
        assert status.ready
        assert replica.row(1).state is State.AVAILABLE  # type: ignore[union-attr]
        assert replica.answer(1) == [1.0]
        mount.set("well")
        replica.wait(f"{state}: it is over", lambda: _error(replica) is None)
    mount.set("stale")
    replica.release(m={1: _digest(tmp_path, 1), 2: _digest(tmp_path, 2)})
    waiting = replica.wait("why it waits", lambda: (row := replica.row(2)) and row.error and row)
    assert (waiting.state, "Stale file handle" in waiting.error) == (State.PENDING, True)
    mount.set("well")
    replica.until(2, State.AVAILABLE)
    assert (replica.answer(1), replica.answer(2)) == ([1.0], [2.0])


def test_a_mount_that_comes_back_with_other_bytes(replica: Unit, mount: Mount, tmp_path: Path) -> None:
    """What is loaded serves on, it is told, and neither this server nor the next one loads what is there now."""
    behind = FileStore(tmp_path / "behind").version_path("m", 1)
    other = replica.samples / "constant-2"
    mount.set("stale")
    replica.wait("words", lambda: "Stale file handle" in str(_error(replica)))
    behind.rename(tmp_path / "right")
    shutil.copytree(other, behind)
    shutil.copy(tmp_path / "right" / RECORD_FILE, behind)
    mount.set("well")
    replica.wait("words for the bytes", lambda: "than its commit record says" in str(_error(replica)))
    assert replica.row(1).state is State.AVAILABLE  # type: ignore[union-attr]
    assert replica.answer(1) == [1.0]
    replica.kill_server()
    replica.start_server()
    row = replica.until(1, State.FAILED)
    assert row is not None
    assert "than its commit record says" in str(row.error)
    replica.wait("its configuration", lambda: "versions" not in replica.config())
    shutil.rmtree(behind)
    (tmp_path / "right").rename(behind)
    replica.until(1, State.AVAILABLE)
    assert replica.answer(1) == [1.0]
    replica.wait("it is over", lambda: _error(replica) is None)


def test_a_mount_that_glitches_while_a_version_loads(replica: Unit, mount: Mount, tmp_path: Path) -> None:
    """What a server had read by then may be half a version: nobody is told that it serves, and it is loaded anew."""
    digest = FileStore(tmp_path / "behind").publish("m", replica.samples / "slow", 3)[0].digest
    mount.read.clear()
    replica.release(m={1: _digest(tmp_path, 1), 3: digest})
    assert replica.server is not None
    server = replica.server.pid
    replica.wait("the server reads", lambda: (server, "saved_model.pb") in mount.read and replica.says(3) == "LOADING")
    mount.set("empty")
    told = set()

    def taken_back() -> bool:
        row = replica.row(3)
        told.add(row.state if row else None)
        return row is not None and row.state is State.UNLOADING

    replica.wait("the server is to let go of it", taken_back)
    assert State.AVAILABLE not in told
    assert replica.answer(1) == [1.0]
    mount.set("well")
    replica.until(3, State.AVAILABLE)
    assert replica.log("server").count("Successfully loaded servable version {name: m version: 3}") == 2
    assert replica.answer(3) == [0.0]


def _error(replica: Unit) -> str | None:
    status = replica.status()
    return "no status" if status is None else status.store_error


def test_a_version_is_verified_once_and_not_once_a_start(replica: Unit, mount: Mount) -> None:
    """An agent that starts anew reads commit records, and no byte of a model."""
    assert replica.agent is not None
    first = replica.agent.pid
    replica.kill_agent()
    replica.start_agent()
    replica.until(1, State.AVAILABLE)
    # It may tell what the server has loaded before it has looked at the store.
    replica.wait("a look at the record", lambda: _read(mount, replica))
    assert (first, "saved_model.pb") in mount.read
    assert _read(mount, replica) == {RECORD_FILE}


def _read(mount: Mount, replica: Unit) -> set[str]:
    """The files that the agent which runs now has read."""
    assert replica.agent is not None
    return {name for process, name in mount.read if process == replica.agent.pid}


def test_questions_about_a_mount_that_hangs_stop_no_agent(replica: Unit, mount: Mount, tmp_path: Path) -> None:
    """Commands ask replicas what the store holds, and give up; the agent is told to hold another version, and does."""
    other = FileStore(tmp_path / "behind").record("m", 2)
    assert other is not None
    mount.set("hangs")
    with ThreadPoolExecutor(MOST_LOOKS + 4) as pool:
        asked = [pool.submit(replica.ask, "/v1/store/m", timeout=5) for _ in range(MOST_LOOKS + 4)]
        wait(asked, timeout=60)
    refused = [one.result()[1] for one in asked if one.exception() is None and one.result()[0] == 503]
    assert refused
    assert b"has yet to answer" in refused[0]
    generation = replica.release(m={}).generation
    replica.wait("the new release", lambda: (status := replica.status()) and status.generation == generation)
    mount.set("well")
    replica.wait("an answer", lambda: replica.ask("/v1/store/m")[0] == 200)


def test_what_is_wrong_with_a_store(mount: Mount, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "home" / "models")
    assert trouble(store, [("m", 1)]) is None
    assert trouble(store, [("m", 1), ("m", 3), ("n", 1)]) == f"the store {store.root} lacks m/3, n/1"
    assert "cannot be read: No such file" in str(trouble(FileStore(tmp_path / "nowhere"), []))
    mount.set("stale")
    look = StoreLook(partial(trouble, store))
    assert look.error is None
    look.look([("m", 1)])
    mount.set("well")


def test_a_shared_folder_that_hangs_stops_nothing_else(mount: Mount, tmp_path: Path) -> None:
    """To note what is in use must not keep the agent from its beats, nor from a rollback."""
    store = ObjectStore(open_bucket("s3://models", {"region": "us-east-1", "endpoint": "http://127.0.0.1:1"}))
    fetcher = Fetcher(store, Cache(tmp_path / "home" / "models"))
    verified = VerifiedCache(tmp_path / "verified.json")

    async def run() -> None:
        files = VersionFiles(fetcher.local, verified, lambda: None, Metrics(), fetcher)
        mount.set("hangs")
        beats = 0
        holding = asyncio.create_task(files.hold({("m", 1)}))
        while not holding.done():
            beats += 1
            await asyncio.sleep(0.05)
        assert beats > 1
        mount.set("stale")
        files.close()

    asyncio.run(asyncio.wait_for(run(), 60))

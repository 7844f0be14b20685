"""What is known of versions' files: in a real store, looked at in threads, again when it was wrong."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.s3 import S3
from tfsdeploy.agent.replica import files as looked
from tfsdeploy.agent.replica.decide import UNKNOWN, Files
from tfsdeploy.agent.replica.files import VersionFiles
from tfsdeploy.agent.replica.memory import Key
from tfsdeploy.agent.replica.metrics import Metrics
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import Record
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.tree import Progress
from tfsdeploy.store.verify import Damaged, VerifiedCache

ONE: Key = ("m", 1)


@pytest.fixture
def store(tmp_path: Path, samples: Path) -> FileStore:
    """A store with one version."""
    made = FileStore(tmp_path / "models")
    made.publish("m", samples / "constant-1", 1)
    return made


async def settled(files: VersionFiles, wanted: dict[Key, str | None], check: Callable[[Files], bool]) -> Files:
    """What is known of the first wanted version once it is what the check asks for."""
    async with asyncio.timeout(60):
        while not check(found := files.known().get(next(iter(wanted)), Files("unknown"))):
            files.want(wanted)
            await asyncio.sleep(0.005)
    return found


def look(
    store: FileStore, test: Callable[[VersionFiles], Awaitable[None]], changed: Callable[[], None] = lambda: None
) -> None:
    """Run a test on what looks at a store."""

    async def run() -> None:
        files = VersionFiles(store, VerifiedCache(store.root.with_name("verified.json")), changed, Metrics())
        try:
            await test(files)
        finally:
            files.close()

    asyncio.run(run())


def known(found: Files) -> bool:
    return found.state not in ("unknown", "fetching", "verifying")


def test_true_bytes_are_present_with_their_digest(store: FileStore) -> None:
    record = store.record(*ONE)

    async def test(files: VersionFiles) -> None:
        for digest in (None, record.digest):
            found = await settled(files, {ONE: digest}, known)
            assert (found.state, found.digest, found.total) == ("present", record.digest, record.bytes)

    look(store, test)


def remove_the_record(path: Path) -> None:
    (path / "tfsdeploy.json").unlink()


def remove_a_file(path: Path) -> None:
    (path / "saved_model.pb").unlink()


def make_a_pipe_of_the_record(path: Path) -> None:
    (path / "tfsdeploy.json").unlink()
    os.mkfifo(path / "tfsdeploy.json")


def nest_folders(path: Path) -> None:
    here = os.open(path, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("x", dir_fd=here)
        below = os.open("x", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def remove_everything(path: Path) -> None:
    shutil.rmtree(path)


def write_nonsense(path: Path) -> None:
    os.chmod(path / "tfsdeploy.json", 0o644)
    (path / "tfsdeploy.json").write_text(json.dumps({"apiVersion": "other"}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove_the_record, "m/1: the store has a folder without a commit record under this number"),
        (remove_a_file, "m/1: saved_model.pb is missing"),
        (remove_everything, "m/1: the store has nothing under this number"),
        (make_a_pipe_of_the_record, "m/1: the store has a folder without a commit record under this number"),
        (nest_folders, "m/1: 'x/x/"),
        (write_nonsense, "m/1: apiVersion is 'other'"),
    ],
)
def test_what_is_wrong_is_told_and_looked_at_again(
    store: FileStore, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    path = store.version_path(*ONE)
    shutil.copytree(path, tmp_path / "good")
    harm(path)

    async def test(files: VersionFiles) -> None:
        found = await settled(files, {ONE: None}, known)
        assert found.state == "bad"
        assert found.error.startswith(said)
        shutil.rmtree(path, ignore_errors=True)
        (tmp_path / "good").rename(path)
        await settled(files, {ONE: None}, lambda found: found.state == "present")

    look(store, test)


def test_another_digest_than_the_release_names(store: FileStore) -> None:
    async def test(files: VersionFiles) -> None:
        found = await settled(files, {ONE: "sha256:other"}, known)
        assert (found.state, "the release names sha256:other" in found.error) == ("bad", True)
        files.want({ONE: None})
        assert files.known()[ONE].state == "unknown", "what was said of another digest is over at once"

    look(store, test)


def test_a_store_that_is_away_says_nothing_of_its_versions(store: FileStore) -> None:
    store.root.rename(store.root.with_name("away"))

    async def test(files: VersionFiles) -> None:
        assert (await settled(files, {ONE: None}, known)).state == "away"
        store.root.with_name("away").rename(store.root)
        await settled(files, {ONE: None}, lambda found: found.state == "present")

    look(store, test)


def test_looking_again_finds_what_changed_and_knows_nothing_until_then(store: FileStore) -> None:
    async def test(files: VersionFiles) -> None:
        await settled(files, {ONE: None}, known)
        remove_a_file(store.version_path(*ONE))
        files.look_again()
        assert files.known()[ONE].state == "unknown"
        await settled(files, {ONE: None}, known)
        assert files.known()[ONE].state == "bad"

    look(store, test)


def test_what_was_wrong_before_a_promote_asked_anew_does_not_count(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked, "RETRY_SECONDS", (3600.0,))
    path = store.version_path(*ONE)
    shutil.copytree(path, tmp_path / "good")
    remove_a_file(path)

    async def test(files: VersionFiles) -> None:
        files.want({ONE: None}, {ONE: "first"})
        assert (await settled(files, {ONE: None}, known)).state == "bad"
        files.want({ONE: None}, {ONE: "first"})
        assert files.known()[ONE].state == "bad"
        shutil.rmtree(path)
        (tmp_path / "good").rename(path)
        files.want({ONE: None}, {ONE: "second"})
        assert files.known()[ONE].state == "unknown"
        assert (await settled(files, {ONE: None}, known)).state == "present"
        files.want({ONE: None}, {ONE: "third"})
        assert files.known()[ONE].state == "present", "what is true stays so"

    look(store, test)


def test_a_look_from_before_a_promote_asked_anew_does_not_count(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, mended = threading.Event(), threading.Event()
    verify = VerifiedCache.verify

    def read_before(cache: VerifiedCache, path: Path, record: Record, progress: Progress) -> None:
        """The first look reads what is mended before it has come to its end."""
        if not reads.is_set():
            reads.set()
            mended.wait()
            raise Damaged("as it was before")
        verify(cache, path, record, progress)

    monkeypatch.setattr(VerifiedCache, "verify", read_before)

    async def test(files: VersionFiles) -> None:
        files.want({ONE: None}, {ONE: "first"})
        await asyncio.to_thread(reads.wait)
        files.want({ONE: None}, {ONE: "second"})
        mended.set()
        assert (await settled(files, {ONE: None}, known)).state == "present"

    look(store, test)


def test_storage_that_hangs_keeps_no_other_version_waiting(
    store: FileStore, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked, "HUNG_SECONDS", 0.05)
    store.publish("m", samples / "constant-2", 2)
    mounted = threading.Event()
    verify = VerifiedCache.verify

    def hang(cache: VerifiedCache, path: Path, record: Record, progress: Progress) -> None:
        """Storage that hangs on one version only."""
        if path.name == "1":
            mounted.wait()
        verify(cache, path, record, progress)

    monkeypatch.setattr(VerifiedCache, "verify", hang)

    async def test(files: VersionFiles) -> None:
        wanted: dict[Key, str | None] = {ONE: None, ("m", 2): None}
        assert "has not answered" in (await settled(files, wanted, known)).error
        await settled(files, {("m", 2): None} | wanted, lambda found: found.state == "present")
        assert files.known()[ONE].state == "away"
        mounted.set()
        await settled(files, wanted, lambda found: found.state == "present")

    look(store, test)


def test_one_bad_version_does_not_keep_others_waiting(store: FileStore, samples: Path) -> None:
    store.publish("m", samples / "constant-2", 2)
    remove_a_file(store.version_path(*ONE))

    async def test(files: VersionFiles) -> None:
        await settled(files, {("m", 2): None, ONE: None}, known)
        assert files.complete() or files.known()[ONE].state == "unknown"

    look(store, test)


def test_progress_is_told_while_bytes_are_read(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked, "PROGRESS_SECONDS", 0.0)
    heard: list[Files] = []

    async def test(files: VersionFiles) -> None:
        changed.append(files)
        await settled(files, {ONE: None}, known)

    changed: list[VersionFiles] = []
    look(store, test, lambda: heard.extend(changed[0].known().values()))
    total = store.record(*ONE).bytes
    assert [(one.state, one.total) for one in heard[:-1]] == [("verifying", total)] * (len(heard) - 1)
    assert len(heard) > 1
    assert heard[-1].state == "present"


def test_replicas_of_a_machine_let_go_of_what_a_number_stood_for(
    s3: S3, s3_bucket: str, samples: Path, tmp_path: Path
) -> None:
    """A bucket that was replaced has other bytes under a number that all have, and none keeps it for another."""
    bucket = ObjectStore(s3.open(s3_bucket))
    fetchers = [Fetcher(bucket, Cache(tmp_path / "here")) for _ in range(3)]

    async def all_have(replicas: list[VersionFiles], digest: str) -> None:
        async with asyncio.timeout(60):
            while {one.known().get(ONE, UNKNOWN).digest for one in replicas} != {digest}:
                for one in replicas:
                    one.want({ONE: digest})
                    await one.hold({ONE})
                await asyncio.sleep(0.01)

    async def run() -> None:
        replicas = [
            VersionFiles(one.local, VerifiedCache(tmp_path / "verified.json"), lambda: None, Metrics(), one)
            for one in fetchers
        ]
        for sample in ("constant-1", "constant-2"):
            record, _ = bucket.publish("m", samples / sample, 1)
            await all_have(replicas, record.digest)
            bucket.discard("m", 1)
        for one in replicas:
            one.close()

    asyncio.run(run())

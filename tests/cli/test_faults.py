"""Commands through a connection that breaks in every way: success or one clear error, and nothing half done is seen."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Run
from tests.cli.saved_models import write_saved_model
from tests.fault_proxy import Faults, fault_proxy
from tests.s3 import S3, SECRET
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store import gc
from tfsdeploy.store.bucket import PART
from tfsdeploy.store.notes import BucketNotes
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import Record
from tfsdeploy.store.refs import remember
from tfsdeploy.store.store import FileStore

CASES = int(os.environ.get("TFSDEPLOY_FUZZ", "200")) // 16
"""Runs of each command; some faults meet each."""

LARGE = 6
"""One in so many has a file that is sent in parts."""


class Shop:
    """A store behind a proxy, with a fleet file that names the proxy and one that names the store."""

    def __init__(self, s3: S3, url: str, faults: Faults, run: Run, folder: Path) -> None:
        self.s3, self.url, self.faults, self._run = s3, url, faults, run
        self.store = ObjectStore(s3.open(url))
        self.root = s3.open(url.removesuffix("/prod"))
        self.outcomes = Counter[str]()
        for name, endpoint in (("calm", s3.endpoint), ("broken", faults.endpoint)):
            (folder / f"{name}.yaml").write_text(
                f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: {url}\nmodels: {{m: {{}}}}\n"
                f"storeOptions: {{endpoint: {endpoint!r}, region: us-east-1}}\n"
            )
        self._published: list[Path] = []
        for size in (200_000, PART + 500_000):
            source = folder / f"source-{size > PART:d}"
            write_saved_model(source, size)
            (source / "variables").mkdir()
            (source / "variables" / "variables.data-00000-of-00001").write_bytes(os.urandom(size))
            published = FileStore(folder / "published")
            record, _ = published.publish(source.name, source, 1)
            self._published.append(published.version_path(source.name, record.version))

    def broken(self, seed: int, command: str, *words: str, models: tuple[str, ...]) -> Ran:
        """A command through faults; judges how it ended, and that what is visible in the store is true."""
        backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=4), "base": 2}
        retry = {"max_retries": 2, "backoff": backoff, "retry_timeout": timedelta(seconds=20)}
        with pytest.MonkeyPatch.context() as soon:
            soon.setattr("tfsdeploy.store.connect._RETRY", retry)
            soon.setattr("tfsdeploy.store.connect._REQUEST", timedelta(milliseconds=300))
            self.faults.begin(seed, 0.05 + 0.3 * (seed % 10) / 10)
            done = self._run(command, *words, "-f", "broken.yaml", "-o", "json")
            self.faults.begin(seed, 0.0)
        told = f"{command}, seed {seed}: {done}"
        exits = re.findall(r"^  (\d+) ", import_module(f"tfsdeploy.cli.{command}").command.epilog, re.MULTILINE)
        assert str(done.code) in exits, told
        assert done.code != 2, told
        assert not [words for words in ("Traceback", "internal error", SECRET) if words in done.out + done.err], told
        error = done.document(command).get("error")
        assert (error is None) or done.code, told
        for model in models:
            self.check_true(model)
        self.outcomes["done" if done.code == 0 else error["message"] if error else "told"] += 1
        return done

    def calm(self, command: str, *words: str) -> Ran:
        """The same without faults; it succeeds."""
        done = self._run(command, *words, "-f", "calm.yaml", "-o", "json")
        assert done.code == 0, done
        return done

    def check_true(self, model: str) -> None:
        for version in self.store.versions(model):
            record = self.store.record(model, version)
            assert record is not None
            self.store.verify(record)

    def put(self, prefix: str, seed: int) -> str:
        """A model as another tool leaves it in the bucket; its URL."""
        source = self._published[seed % LARGE == 0]
        for path in source.rglob("*"):
            if path.is_file() and path.name != RECORD_FILE:
                self.root.put(f"{prefix}/{path.relative_to(source).as_posix()}", path.read_bytes())
        return self.root.where(prefix)

    def commit(self, model: str, version: int, seed: int) -> Record:
        """The same as a version."""
        self.put(f"prod/{model}/{version}", seed)
        plain = json.loads((self._published[seed % LARGE == 0] / RECORD_FILE).read_bytes())
        plain |= {"model": model, "version": version}
        self.store.bucket.put(f"{model}/{version}/{RECORD_FILE}", json.dumps(plain).encode())
        record = self.store.record(model, version)
        assert record is not None
        return record


@pytest.fixture(scope="module")
def proxy(s3: S3) -> Iterator[Faults]:
    with fault_proxy(s3.endpoint) as faults:
        faults.tell_no_lies()
        yield faults


@pytest.fixture
def shop(
    s3: S3, s3_bucket: str, proxy: Faults, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    # A command that failed has ended; here it would be this process.
    monkeypatch.setattr("tfsdeploy.store.claim.lives", lambda *_: False)
    proxy.done.clear()
    yield (made := Shop(s3, s3_bucket, proxy, run, tmp_path))
    assert proxy.done.total() > CASES // 2, proxy.done
    assert made.outcomes["done"] > 1, made.outcomes


def test_push(shop: Shop) -> None:
    for seed in range(CASES):
        words = (f"m{seed}", f"source-{int(seed % LARGE == 0)}", "--version", "7")
        shop.broken(seed, "push", *words, models=words[:1])
        shop.calm("push", *words)
        assert shop.store.versions(words[0]) == [7]
        shop.check_true(words[0])


@pytest.mark.parametrize("where", ["inside", "elsewhere"])
def test_push_from(where: str, shop: Shop) -> None:
    if where == "elsewhere":
        shop.root = shop.s3.open(shop.s3.make_bucket(f"from-{shop.url.split('/')[2]}"))
    for seed in range(CASES):
        words = (f"m{seed}", "--from", shop.put(f"training/{seed}", seed), "--version", "7")
        shop.broken(seed, "push", *words, models=words[:1])
        shop.calm("push", *words)
        assert shop.store.versions(words[0]) == [7]
        shop.check_true(words[0])


def test_adopt(shop: Shop) -> None:
    for seed in range(CASES):
        shop.put(f"prod/m{seed}/7", seed)
        shop.broken(seed, "adopt", f"m{seed}", "7", models=(f"m{seed}",))
        shop.calm("adopt", f"m{seed}", "7")
        assert shop.store.versions(f"m{seed}") == [7]
        shop.check_true(f"m{seed}")


def test_mirror(shop: Shop) -> None:
    copies = ObjectStore(shop.s3.open(shop.root.where("copies")))
    reached = ("--endpoint", shop.faults.endpoint, "--region", "us-east-1")
    for seed in range(CASES):
        model = f"m{seed}"
        record = shop.commit(model, 7, seed)
        done = shop.broken(seed, "mirror", copies.url, model, *reached, models=(model,))
        there = copies.record(model, 7)
        assert there == record if done.code == 0 else there in (record, None), done
        if there is not None:
            copies.verify(there)
        shop.calm("mirror", copies.url, model, *reached)
        assert copies.record(model, 7) == record
        copies.verify(record)


def test_versions_and_verify(shop: Shop) -> None:
    right = [shop.commit("m", number, number).digest for number in (1, 2)]
    for seed in range(CASES):
        listed = shop.broken(seed, "versions", "m", models=())
        rows = json.loads(listed.out)["versions"]
        for row, digest in zip(rows or (), right, strict=rows is not None):
            # One that could not be read is named, and hides none of the others.
            assert row["digest"] == digest or (row["digest"] is None and "warning" in listed.err), listed
        verified = shop.broken(seed, "verify", "m", models=())
        found = json.loads(verified.out)
        assert not found["damaged"], verified
        assert found["checked"] == 2 if verified.code == 0 else found["error"], verified
    assert shop.calm("verify", "m").document("verify")["checked"] == 2


def test_gc(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many runs as it takes; what a fleet holds, and what is new, stays whole."""
    # A store may tell its time in whole seconds.
    monkeypatch.setattr(gc, "YOUNG", -timedelta(minutes=1))
    held, newest = 2, 5
    remember(BucketNotes(shop.store.bucket), "other", "life", {"m": {held}}, {}, datetime.now(UTC))
    words = ("m", "--keep", "1", "--yes")
    for seed in range(CASES):
        for version in {*range(1, newest + 1)} - {*shop.store.versions("m")}:
            shop.commit("m", version, 1)
        for run in range(2):
            shop.broken(2 * seed + run, "gc", *words, models=("m",))
            assert {held, newest} <= {*shop.store.versions("m")}
        for _ in range(2):
            shop.calm("gc", *words)
        assert (shop.store.versions("m"), shop.store.uncommitted("m")) == ([held, newest], [])

"""A fleet whose store is S3: a real server, the documented commands, and what happens when the store is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import s3
from tests.s3_outage import MortalS3
from tests.scenarios.live import LiveFleet, eventually
from tests.scenarios.stream import stream
from tfsdeploy.store.objects import ObjectStore

M, N = "m", "other"
ALL = ("Admin", "Read", "Write", "List")
DENIED = "the store denies this to these credentials"


@pytest.fixture
def planned(own_s3: MortalS3, mode: str, samples: Path, tmp_path: Path) -> Iterator[LiveFleet]:
    """Three replicas and a gateway, before the first `up`."""
    fleet = LiveFleet(tmp_path / "fleet", tmp_path / "home", mode, samples)
    options = {"endpoint": own_s3.endpoint, "region": s3.REGION}
    fleet.spec |= {"store": "s3://models/prod", "storeOptions": options, "models": {M: {}}}
    fleet.spec["serving"] |= {"replicas": 3, "minAvailable": 1}
    fleet.spec["gateway"]["replicas"] = 1
    fleet.write()
    try:
        yield fleet
    finally:
        fleet.down()


@pytest.fixture
def shop(planned: LiveFleet) -> LiveFleet:
    """Versions 1 and 2 are in the store, the first one serves."""
    planned.serve(M, 1, 2)
    return planned


def test_models_come_from_s3(shop: LiveFleet, own_s3: MortalS3) -> None:
    """Push, promote, roll back without a failed request; what is not true is not loaded; no secret is anywhere."""
    store = ObjectStore(own_s3.open("prod"))
    with stream(shop, {M: {1}}) as requests:
        requests.now(M, {1, 2})
        shop.promote(M, 2)
        requests.now(M, {2})
        assert shop.effective(M, {2: 100})
        shop.push(M, 3)
        (file,) = (f.path for f in _record(store, 3).files if "data-00000" in f.path)
        entry = store.bucket.stat(f"{M}/3/{file}")
        assert entry is not None
        store.bucket.put(f"{M}/3/{file}", b"x" * entry.size)
        failed = shop.promote(M, 3, code=4).document["error"]["message"]
        assert "other bytes" in failed
        requests.now(M, {1, 2})
        shop.rollback(M)
        requests.now(M, {1})
    requests.check()
    for process in psutil.process_iter(["pid", "cmdline"]):
        assert s3.SECRET not in " ".join(process.info["cmdline"] or ())
    for path in shop.home.rglob("*"):
        assert not path.is_file() or s3.SECRET.encode() not in path.read_bytes(), path
    for process in (*shop.servers(), *shop.envoys()):
        assert "AWS_SECRET_ACCESS_KEY" not in process.environ()


def test_the_store_is_away(shop: LiveFleet, own_s3: MortalS3) -> None:
    """What is there serves on, restarts and scales without it; a promote waits, and goes on when it is back."""
    shop.push(M, 3)
    with stream(shop, {M: {1}}) as requests:
        own_s3.kill()
        try:
            for part in (shop.servers()[0], *shop.replica_agents()):
                shop.kill(part)
                shop.healthy()
            shop.run("status")
            shop.run("rollback", M, code=4)
            refused = shop.run("versions", M, "-o", "json", code=1).document["error"]["message"]
            assert own_s3.endpoint not in refused
            shop.spec["serving"]["replicas"] = 4
            shop.up()
        finally:
            own_s3.start()
        requests.now(M, {1, 3})
        eventually(lambda: shop.run("promote", M, "3", code=None).code == 0, "a promote with the store back")
        requests.now(M, {3})
    requests.check()


@pytest.mark.any_server
def test_the_bucket_is_replaced(shop: LiveFleet, own_s3: MortalS3) -> None:
    """What serves needs neither the old one nor the new one; from the new one comes only what its records say."""
    store = ObjectStore(own_s3.open("prod"))
    shop.promote(M, 2)
    shop.rollback(M)
    with stream(shop, {M: {1}}) as requests:
        own_s3.remove_bucket()
        assert "there is no such bucket" in shop.promote(M, 3, code=1).document["error"]["message"]
        own_s3.make_bucket()
        for part in (shop.servers()[0], shop.replica_agents()[1]):
            shop.kill(part)
            shop.healthy()
        assert "no committed version 3" in shop.promote(M, 3, code=2).document["error"]["message"]

        shop.push(M, 2, "constant-9")
        (file,) = (f.path for f in _record(store, 2).files if "data-00000" in f.path)
        whole = store.bucket.get(f"{M}/2/{file}")
        assert whole is not None
        store.bucket.put(f"{M}/2/{file}", b"x" * len(whole))
        refused = shop.promote(M, 2, "--yes", code=4).document["error"]["message"]
        assert "the store lacks version 1, which serves" in refused
        assert "other bytes" in shop.promote(M, 2, "--yes", "--force", code=4).document["error"]["message"]
        store.bucket.put(f"{M}/2/{file}", whole)
        requests.now(M, {1, 9})
        shop.promote(M, 2, "--yes", "--force")
        requests.now(M, {9})
        assert shop.effective(M, {2: 100})
    requests.check()
    shop.healthy()


@pytest.fixture
def apart(planned: LiveFleet) -> LiveFleet:
    """The same, and the replicas have a key pair of their own, which may only read."""
    planned.push(M, 1)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", s3.READER_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", s3.READER_SECRET)
        planned.up()
    planned.push(M, 2)
    return planned


@pytest.mark.any_server
def test_rights_are_revoked_and_come_back(apart: LiveFleet, own_s3: MortalS3) -> None:
    """What serves serves on, and restarts; a promote is refused at once; what waits is told, and then goes on."""
    apart.push(N, 1)
    with stream(apart, {M: {1}}) as requests:
        own_s3.allow("reader")
        refused = apart.promote(M, 2, code=4).document["error"]["message"]
        assert "traffic never moved" in refused
        assert DENIED in refused
        own_s3.allow("writer")
        assert DENIED in apart.promote(M, 2, code=1).document["error"]["message"]
        own_s3.allow("writer", *ALL)
        for part in (apart.servers()[0], apart.replica_agents()[1]):
            apart.kill(part)
            apart.healthy()

        apart.spec["models"][N] = {}
        apart.write()
        waiting = apart.start("up", "--timeout", "150")
        words = f"{N} 1 FAILED: "
        eventually(lambda: any(words in t and DENIED in t for t in apart.status()["troubles"] or ()), "why it waits")
        assert not any(row["ready"] for row in apart.status()["replicas"])
        own_s3.allow("reader", "Read", "List")
        out, err = waiting.communicate(timeout=120)
        assert waiting.returncode == 0, (out, err)
        requests.now(M, {1, 2})
        apart.promote(M, 2)
        requests.now(M, {2})
    requests.check()
    apart.healthy()


def _record(store: ObjectStore, version: int):  # type: ignore[no-untyped-def]
    found = store.record(M, version)
    assert found is not None
    return found

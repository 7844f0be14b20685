"""What replicas at rest ask their store for: nothing, counted on the way to a real S3 server."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.fault_proxy import fault_proxy
from tests.s3 import S3
from tfsdeploy.agent.replica.files import VersionFiles
from tfsdeploy.agent.replica.look import LOOK_SECONDS
from tfsdeploy.agent.replica.metrics import Metrics
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.example import write_example
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.handed import CREDENTIALS, HandedBucket
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.verify import VerifiedCache

HOUR = 3600


def test_an_hour(s3: S3, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three replicas of a machine fetch a version once; then each second of an hour, by a clock that runs ahead.

    As their agents do, they look every few seconds whether what opens the store is still there.
    """
    write_example(tmp_path / "source", offset=1.0)
    record, _ = ObjectStore(s3.open(s3_bucket)).publish("m", tmp_path / "source", 1)
    ahead, monotonic = 0, time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + ahead)

    async def run() -> tuple[int, int]:
        nonlocal ahead
        wanted = {("m", 1): record.digest}
        for files in replicas:
            await files.hold(wanted)
            files.want(wanted)
        while not all(files.complete() for files in replicas):
            await asyncio.sleep(0.01)
            for files in replicas:
                files.want(wanted)
        fetched = proxy.asked
        for ahead in range(1, HOUR + 1):
            for files in replicas:
                await files.hold(wanted)
                files.want(wanted)
            if ahead % LOOK_SECONDS == 0:
                assert {bucket.trouble() for bucket in buckets} == {None}
            await asyncio.sleep(0)
        assert {files.known()["m", 1].state for files in replicas} == {"present"}
        for files in replicas:
            files.close()
        return fetched, proxy.asked - fetched

    with fault_proxy(s3.endpoint) as proxy:
        handed = tmp_path / CREDENTIALS
        handed.write_text(json.dumps(s3.environment))
        options = {**s3.options, "endpoint": proxy.endpoint}
        buckets = [HandedBucket(s3_bucket, options, handed) for _ in range(3)]
        cache, verified = Cache(tmp_path / "node"), VerifiedCache(tmp_path / "verified.json")
        replicas = [
            VersionFiles(
                cache.versions,
                verified,
                lambda: None,
                Metrics(),
                Fetcher(ObjectStore(bucket), Cache(tmp_path / "node")),
            )
            for bucket in buckets
        ]
        fetched, more = asyncio.run(run())
    assert fetched == 1 + len([file for file in record.files if file.size]), "the record, and each file, once"
    assert more == 0

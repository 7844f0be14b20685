"""A publisher to a bucket as a process of its own, which stops before the request to the store that it is told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.s3 import S3
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store import claim, hold
from tfsdeploy.store.bucket import Bucket, Entry, Stat, open_bucket
from tfsdeploy.store.upload import publish

ROOT = Path(__file__).resolve().parents[2]

LEASE_SECONDS = 6.0
"""Instead of an hour; the store tells when a claim was written in whole seconds, which half of it must outlast."""
BEAT_SECONDS = 0.2


class Held(Bucket):
    """Counts its requests, and holds all of them from a certain one on until it is let go."""

    def __init__(self, bucket: Bucket, stop: int) -> None:
        super().__init__(bucket.url, lambda: bucket._client)
        self.requests = 0
        self._stop = stop
        self._lock = threading.Lock()

    def _gate(self) -> None:
        with self._lock:
            self.requests += 1
            if self.requests == self._stop:
                print("held", flush=True)
                sys.stdin.readline()

    def stat(self, key: str) -> Stat | None:
        self._gate()
        return super().stat(key)

    def get_with_stat(self, key: str, limit: int = 1 << 24) -> tuple[bytes, Entry] | None:
        self._gate()
        return super().get_with_stat(key, limit)

    def put(self, key: str, data: bytes, *, create: bool = False, replaces: str | None = None) -> str | None:
        self._gate()
        return super().put(key, data, create=create, replaces=replaces)

    def upload(self, key: str, pieces: Iterable[bytes], *, part: int = 5 << 20, parallel: int = 2) -> str | None:
        self._gate()
        return super().upload(key, pieces, part=part, parallel=parallel)

    def delete(self, keys: Iterable[str]) -> None:
        self._gate()
        super().delete(keys)

    def folders(self, prefix: str = "") -> Iterator[str]:
        self._gate()
        return super().folders(prefix)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        self._gate()
        return super().list(prefix)


def start(s3: S3, url: str, model: str, source: Path, version: int | None, stop: int = 0) -> subprocess.Popen[str]:
    """A publisher that begins at once, and stops before its ``stop``-th request; 0 for never."""
    words = [json.dumps(s3.options), url, model, str(source), str(version or 0), str(stop)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.bucket_publisher", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def is_held(process: subprocess.Popen[str]) -> bool:
    """Wait until it stops before its request; False if it ended without having made so many."""
    assert process.stdout is not None
    return process.stdout.readline() == "held\n"


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Let it go on, and tell what came of it."""
    output, _ = process.communicate("\n", timeout=120)
    return dict(json.loads(output))


def shorten(set_to: Callable[[Any, str, float], None]) -> None:
    """Seconds instead of an hour, in this process."""
    set_to(claim, "LEASE_SECONDS", LEASE_SECONDS)
    set_to(hold, "BEAT_SECONDS", BEAT_SECONDS)


def main(options: str, url: str, model: str, source: str, version: str, stop: str) -> None:
    shorten(setattr)
    bucket = Held(open_bucket(url, json.loads(options)), int(stop))
    try:
        record, _ = publish(bucket, model, Path(source), int(version) or None)
    except TfsdeployError as error:
        print(json.dumps({"exit": error.exit_code, "error": str(error), "requests": bucket.requests}))
    else:
        print(json.dumps({"exit": 0, "digest": record.digest, "requests": bucket.requests}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Faults on the way between publishers, replicas and an object store: `python -m benchmarks.faults` injects and judges.

A real S3 server behind the proxy of the tests, which cuts, delays, corrupts, mixes up, refuses and lies; one in ten
publishers and replicas is killed as well. What is visible then, in the bucket or on the disk, is read byte by byte.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from benchmarks.figure import Figure, machine, table, told
from tests.fault_proxy import FAULTS, Faults, fault_proxy
from tests.s3 import S3, s3_server
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store import claim, connect, ranges
from tfsdeploy.store.bucket import PART
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.example import write_example
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import Record
from tfsdeploy.store.tree import silent
from tfsdeploy.store.verify import Damaged, verify

COUNT = int(os.environ.get("TFSDEPLOY_BENCH_FAULTS", "10000"))
AT_A_TIME = 3
TRIES = 40
"""How often a replica tries again through the faults before they end: it would do so for ever."""

SMALL, LARGE = 900_000, PART + 1_000_000

KILLED = (
    "import sys; from pathlib import Path; from tfsdeploy.store.cache import Cache; "
    "from tfsdeploy.store.fetch import Fetcher; from tfsdeploy.store.store import open_store; "
    "store = open_store(sys.argv[1], {'endpoint': sys.argv[2], 'region': 'us-east-1'}); "
)
KILLED_PUSH = KILLED + "store.publish('m', Path(sys.argv[3]), 7)"
KILLED_FETCH = KILLED + "Fetcher(store, Cache(Path(sys.argv[3]))).bring('m', 7, None, lambda done, total: None)"


@dataclass
class Verdict:
    """What was seen; ``wrong`` must stay empty."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    kills: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, outcome: str, wrong: str = "") -> None:
        """Note how something ended."""
        with self.lock:
            self.outcomes[outcome] += 1
            if wrong:
                self.wrong.append(wrong)


def main() -> int:
    """Inject, judge and print; the exit code says whether nothing was wrong."""
    print(machine(), flush=True)
    found = told(figures())
    print(f"\n{machine()}\n{table(found)}")
    return 0 if all(figure.reached for figure in found) else 1


def figures() -> list[Figure]:
    """The rows about faults."""
    # Tries again as in earnest, but soon; small ranges, so that a fetch has many.
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=4), "base": 2}
    connect._RETRY |= {"max_retries": 3, "backoff": backoff, "retry_timeout": timedelta(seconds=20)}
    ranges.RANGE = 128 << 10
    claim.lives = lambda *_: False  # A publisher whose command has failed has ended; here it would be this process.
    verdict, done = Verdict(), 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tfsdeploy-faults-")))
        (folder / "s3").mkdir()
        server = stack.enter_context(s3_server(folder / "s3"))
        os.environ |= server.environment
        server.make_bucket("models")
        proxies = [stack.enter_context(fault_proxy(server.endpoint)) for _ in range(AT_A_TIME)]
        free, seed = list(proxies), 0
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            while (done := sum(proxy.done.total() for proxy in proxies)) < COUNT:
                jobs = []
                for _ in range(AT_A_TIME):
                    jobs.append(pool.submit(_case, server, free[len(jobs)], folder / f"case-{seed}", seed, verdict))
                    seed += 1
                for job in jobs:
                    job.result()
        kinds = Counter[str]()
        for proxy in proxies:
            kinds += proxy.done
    for words in verdict.wrong[:10]:
        print(f"  WRONG: {words}", flush=True)
    print(f"  outcomes: {dict(verdict.outcomes.most_common())}", flush=True)
    said = f"{len(verdict.wrong)} of {verdict.outcomes.total()} ends"
    what = f"{done:,} faults of {len(kinds)} kinds, {verdict.kills} kills over publish and fetch: wrong"
    return [Figure(what, "0", said, not verdict.wrong and set(kinds) == set(FAULTS))]


def _case(server: S3, proxy: Faults, folder: Path, seed: int, verdict: Verdict) -> None:
    """Publish a version through faults, then without; fetch it through faults, then without; look at every byte."""
    chance = random.Random(seed)
    source = folder / "source"
    write_example(source, offset=float(seed))
    (source / "assets").mkdir()
    (source / "assets" / "data").write_bytes(chance.randbytes(LARGE if seed % 5 == 0 else SMALL))
    (source / "assets" / "none").write_bytes(b"")
    url = f"s3://models/{seed}"
    direct, broken = ObjectStore(server.open(url)), ObjectStore(server.open(url, endpoint=proxy.endpoint))
    proxy.begin(seed, 0.05 + 0.35 * chance.random())
    try:
        if chance.random() < 0.1:
            _kill(KILLED_PUSH, url, proxy, source, chance, verdict)
        _ended(lambda: broken.publish("m", source, 7), f"{seed}: push", verdict)
        proxy.begin(seed, 0.0)
        _judge_bucket(direct, f"{seed}: after the push", verdict)
        record, _ = direct.publish("m", source, 7)
        _judge_bucket(direct, f"{seed}: after the push was repeated", verdict)
        proxy.begin(seed + 1, 0.05 + 0.35 * chance.random())
        if chance.random() < 0.1:
            _kill(KILLED_FETCH, url, proxy, folder / "here", chance, verdict)
        cache = Cache(folder / "here")
        for _ in range(TRIES):
            there = _ended(
                lambda: Fetcher(broken, cache).bring("m", 7, record.digest, silent), f"{seed}: fetch", verdict
            )
            _judge_disk(cache, record, f"{seed}: after a fetch", verdict)
            if there:
                break
        proxy.begin(seed, 0.0)
        Fetcher(direct, cache).bring("m", 7, record.digest, silent)
        if cache.versions.versions("m") != [7]:
            verdict.saw("not there", f"{seed}: it does not arrive when the faults are over")
        _judge_disk(cache, record, f"{seed}: at the end", verdict)
    except Exception as error:
        verdict.saw("broken", f"{seed}: {type(error).__name__}: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        direct.bucket.delete([entry.key for entry in direct.bucket.list("m")])


def _ended(call: object, what: str, verdict: Verdict) -> bool:
    """Do what a command or an agent does; whether it succeeded. Anything but a clear error of one line is wrong."""
    assert callable(call)
    try:
        call()
    except TfsdeployError as error:
        verdict.saw(error.message.split(": ")[-1][:60], f"{what}: {error}" if "\n" in str(error) else "")
        return False
    verdict.saw("done")
    return True


def _kill(code: str, url: str, proxy: Faults, folder: Path, chance: random.Random, verdict: Verdict) -> None:
    """A process of its own, killed at any moment."""
    with subprocess.Popen(
        [sys.executable, "-c", code, url, proxy.endpoint, str(folder)], stderr=subprocess.DEVNULL
    ) as process:
        time.sleep(0.2 + 0.6 * chance.random())
        process.kill()
    verdict.kills += 1


def _judge_bucket(store: ObjectStore, what: str, verdict: Verdict) -> None:
    """Whatever has a commit record there is true."""
    for version in store.versions("m"):
        record = store.record("m", version)
        for file in () if record is None else record.files:
            content = store.bucket.get(f"m/{version}/{file.path}")
            if content is None or (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):
                verdict.saw("untrue", f"{what}: m/{version}/{file.path} in the bucket is not what its record says")


def _judge_disk(cache: Cache, record: Record, what: str, verdict: Verdict) -> None:
    """Whatever has a version's name there is whole and true."""
    for version in [*cache.versions.versions("m"), *cache.versions.uncommitted("m")]:
        try:
            verify(cache.versions.version_path("m", version), record)
        except (Damaged, OSError) as error:
            verdict.saw("untrue", f"{what}: on the disk: {error}")


if __name__ == "__main__":
    sys.exit(main())

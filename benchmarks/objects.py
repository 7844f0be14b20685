"""`make bench-store`: object stores against `rclone copy`, at rest, and through faults; about 25 minutes in full.

The S3 server runs on the same machine, so it is one of those that share the processor with whoever is measured.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import faults
from benchmarks.figure import Figure, machine, table, told
from benchmarks.fleet import live
from tests.fault_proxy import fault_proxy
from tests.s3 import REGION, S3, s3_server
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.example import write_example
from tfsdeploy.store.notes import BucketNotes
from tfsdeploy.store.record import File, Record, digest_of, encode
from tfsdeploy.store.refs import remember

MEGABYTES = int(os.environ.get("TFSDEPLOY_BENCH_MEGABYTES", "2000"))
FILES = 40
ROUNDS = 3

PUSH = "import sys; from pathlib import Path; store.publish('m', Path(sys.argv[3]), int(sys.argv[4]))"
FETCH = (
    "import sys; from pathlib import Path; from tfsdeploy.store.cache import Cache; "
    "from tfsdeploy.store.fetch import Fetcher; "
    "Fetcher(store, Cache(Path(sys.argv[3]))).bring('m', int(sys.argv[4]), None, lambda done, total: None)"
)
OPEN = (
    "import sys; from tfsdeploy.store.store import open_store; "
    "store = open_store('s3://models/bench', {'endpoint': sys.argv[1], 'region': 'us-east-1'}); "
)
IDLE = OPEN + "store.models()"

FILES_OF = (
    "import asyncio, sys, time; from pathlib import Path; from tfsdeploy.agent.replica.files import VersionFiles; "
    "from tfsdeploy.agent.replica.metrics import Metrics; from tfsdeploy.store.verify import VerifiedCache; "
    "from tfsdeploy.store.cache import Cache; from tfsdeploy.store.fetch import Fetcher\n"
    "async def look(store, fetcher):\n"
    "    changed, verified = asyncio.Event(), VerifiedCache(Path(sys.argv[3]) / 'verified.json')\n"
    "    files = VersionFiles(store, verified, changed.set, Metrics(), fetcher)\n"
    "    begun = time.perf_counter()\n"
    "    while not (files.want({('m', 1): None}), files.complete())[1]:\n"
    "        await changed.wait(); changed.clear()\n"
    "    assert files.known()['m', 1].state == 'present', files.known()\n"
    "    print(time.perf_counter() - begun)\n"
    "    files.close()\n"
)
REPLICA = FILES_OF + "fetcher = Fetcher(store, Cache(Path(sys.argv[3]))); asyncio.run(look(fetcher.local, fetcher))"
LOCAL = FILES_OF + "asyncio.run(look(Cache(Path(sys.argv[3])).versions, None))"
"""What a replica does before its server loads a version: from an object store through the cache, and from a folder."""

WITNESS = (
    "import os, sys; quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]; "
    "child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet); "
    "_, status, usage = os.wait4(child, 0); print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime); "
    "sys.exit(os.waitstatus_to_exitcode(status) != 0)"
)
"""Starts a program: the kernel counts the memory of whoever starts one as the program's, so it must be a small one."""

REST_SECONDS = 60

VERSIONS = int(os.environ.get("TFSDEPLOY_BENCH_VERSIONS", "10000"))
COMMANDS = {"versions": ("versions", "m", "-o", "json"), "verify": ("verify", "m"), "gc": ("gc", "m")}
AGED = """
import sys
from datetime import timedelta
from tfsdeploy.cli.main import main
from tfsdeploy.store import gc
gc.YOUNG = -timedelta(minutes=1)
sys.exit(main(sys.argv[1:]))
"""
"""The command line, to which what came just now is old."""

ONCE = {"gc that marks": ("gc", "m", "--yes"), "gc that sweeps": ("gc", "m", "--yes")}
"""What can be done once, in this order."""
MEMORY_MB, MORE_MB, LINEAR = 200, 64, 2.5


def main() -> int:
    """Measure and print; the exit code says whether everything was reached."""
    print(machine(), flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tfsdeploy-bench-")))
        (folder / "s3").mkdir()
        server = stack.enter_context(s3_server(folder / "s3"))
        os.environ |= server.environment
        server.make_bucket("models")
        figures = told(_figures(server, folder)) + told(_second_replica(server, folder)) + told(_many(server, folder))
    figures += told(_at_rest()) + told(faults.figures())
    print(f"\n{machine()}\n{table(figures)}")
    return 0 if all(figure.reached for figure in figures) else 1


def _figures(server: S3, folder: Path) -> list[Figure]:
    source = folder / "source"
    write_example(source, offset=1.0)
    (source / "assets").mkdir()
    block = os.urandom(MEGABYTES * 1_000_000 // FILES)
    for number in range(FILES):
        (source / "assets" / f"{number:02}").write_bytes(number.to_bytes(4, "big") + block[4:])
    pushes, fetches = [], []
    idle = _tfsdeploy(server, IDLE, folder, 0)[1]
    memory, peer = 0.0, float("inf")
    for turn in range(1, ROUNDS + 1):
        theirs, _ = _rclone(server, [str(source), f":s3:models/peer/{turn}"])
        ours, _ = _tfsdeploy(server, OPEN + PUSH, source, turn)
        pushes.append(theirs / ours)
        theirs, used = _rclone(server, [f":s3:models/peer/{turn}", str(folder / "rclone")])
        peer = min(peer, used)
        ours, used = _tfsdeploy(server, OPEN + FETCH, folder / "ours", turn)
        fetches.append(theirs / ours)
        memory = max(memory, used)
        shutil.rmtree(folder / "rclone")
        shutil.rmtree(folder / "ours")
    what = f"of {MEGABYTES:,} MB in {FILES} files, against rclone copy, best of {ROUNDS}"
    return [
        Figure(f"push {what}", "x 0.9", f"x {max(pushes):.2f}", max(pushes) >= 0.9),
        Figure(f"fetch {what}, verified", "x 0.9", f"x {max(fetches):.2f}", max(fetches) >= 0.9),
        Figure(
            "RSS of a fetch, beside rclone's least and an idle connection's",
            "+64 MB",
            f"{memory:.0f} MB: {memory - peer:+.0f} and {memory - idle:+.0f} MB",
            memory - min(peer, idle) <= MORE_MB,
        ),
    ]


def _second_replica(server: S3, folder: Path) -> list[Figure]:
    """What is fetched already, as another replica of the machine meets it; and the same in a folder."""
    with fault_proxy(server.endpoint) as proxy:
        words = [proxy.endpoint, "", str(folder / "node"), "1"]
        _said([sys.executable, "-c", OPEN + REPLICA, *words])
        asked = proxy.asked
        cached = [float(_said([sys.executable, "-c", OPEN + REPLICA, *words])) for _ in range(ROUNDS)]
        asked = proxy.asked - asked
        local = [float(_said([sys.executable, "-c", LOCAL, *words])) for _ in range(ROUNDS)]
    more = min(cached) - min(local)
    what = f"second replica of a node, {MEGABYTES:,} MB in the cache: requests; beyond a local one"
    return [Figure(what, "0; 0.2 s", f"{asked}; {more:.3f} s", asked == 0 and more <= 0.2)]


def _at_rest() -> list[Figure]:
    """A fleet of three replicas that has changed its version, and then rests."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tfsdeploy-bench-")))
        server = stack.enter_context(s3_server(folder))
        os.environ |= server.environment
        server.make_bucket("models")
        proxy = stack.enter_context(fault_proxy(server.endpoint))
        options = {"endpoint": proxy.endpoint, "region": REGION}
        fleet = stack.enter_context(live("embedded", store="s3://models/rest", storeOptions=options))
        fleet.promote("m", 2)
        before = proxy.asked
        time.sleep(REST_SECONDS)
        asked = proxy.asked - before
    what = f"requests to the store by a fleet of three at rest, {REST_SECONDS} s (after {before} to begin)"
    return [Figure(what, "0", str(asked), asked == 0 < before)]


def _many(server: S3, folder: Path) -> list[Figure]:
    """Commands on a model with very many versions, and on one with half as many."""
    for prefix, count in (("half", VERSIONS // 2), ("all", VERSIONS)):
        bucket = server.open(f"s3://models/{prefix}")
        (folder / f"{prefix}.yaml").write_text(
            f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: bench\nstore: s3://models/{prefix}\nmodels: {{m: {{}}}}\n"
            f"storeOptions: {{endpoint: {server.endpoint!r}, region: {REGION}}}\n"
        )
        remember(BucketNotes(bucket), "bench", "life", {"m": {1}}, {}, datetime.now(UTC))
        graph = b"\x08\x01"
        file = File("saved_model.pb", len(graph), hashlib.sha256(graph).hexdigest())
        for version in range(1, count + 1):
            record = Record("m", version, digest_of([file]), (file,), "2020-01-01T00:00:00+00:00", "bench@here")
            bucket.put(f"m/{version}/saved_model.pb", graph)
            bucket.put(f"m/{version}/{RECORD_FILE}", encode(record).encode())
    figures = []
    for name, words in (COMMANDS | ONCE).items():
        rounds = ROUNDS if name in COMMANDS else 1
        (half, _), (worked, used) = [_least(words, folder / f"{prefix}.yaml", rounds) for prefix in ("half", "all")]
        what = f"{name} of {VERSIONS:,} versions: RSS; processor time against half as many"
        said = f"{used:.0f} MB; x {worked / half:.2f} ({worked:.1f} s)"
        reached = used <= MEMORY_MB and worked <= LINEAR * half
        figures.append(Figure(what, f"{MEMORY_MB} MB; x {LINEAR}", said, reached))
    return figures


def _least(words: tuple[str, ...], file: Path, rounds: int) -> tuple[float, float]:
    """Seconds of the processor that a command takes, the least of some rounds; the most megabytes."""
    program = ["-c", AGED] if words[0] == "gc" else ["-m", "tfsdeploy"]
    did = [_worked([sys.executable, *program, *words, "-f", str(file)]) for _ in range(rounds)]
    return min(seconds for seconds, _ in did), max(used for _, used in did)


def _rclone(server: S3, words: list[str]) -> tuple[float, float]:
    """Seconds and megabytes of a copy; rclone checks sizes and, where the store tells them, MD5 sums."""
    flags = ["--s3-provider=SeaweedFS", "--s3-env-auth", "--s3-region=us-east-1", "--config=/dev/null"]
    program = str(Path(sys.executable).with_name("rclone"))
    return _timed([program, "copy", *words, *flags, f"--s3-endpoint={server.endpoint}", "--s3-no-check-bucket"])


def _tfsdeploy(server: S3, code: str, folder: Path, version: int) -> tuple[float, float]:
    """Seconds and megabytes of a process of its own."""
    return _timed([sys.executable, "-c", code, server.endpoint, "", str(folder), str(version)])


def _timed(words: list[str]) -> tuple[float, float]:
    """Seconds and the most megabytes of a program."""
    begun = time.perf_counter()
    used = _worked(words)[1]
    return time.perf_counter() - begun, used


def _worked(words: list[str]) -> tuple[float, float]:
    """Seconds of the processor and the most megabytes of a program."""
    kilobytes, seconds = _said([sys.executable, "-I", "-S", "-c", WITNESS, *words]).split()
    return float(seconds), float(kilobytes) / 1024


def _said(words: list[str]) -> str:
    """What a program prints."""
    return subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())

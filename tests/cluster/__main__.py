"""`python -m tests.cluster up | build | down`: start the cluster, only compile what it is made of, end it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chart.helm import helm
from tests.cluster.build import binaries, cache
from tests.cluster.cluster import Cluster
from tests.cluster.health import health


def main() -> int:
    """Do what the one word says."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        print("the cluster needs root, for its namespaces, and Debian, for containerd and etcd", file=sys.stderr)
        return 2
    if shutil.which("go") is None or shutil.which("kubectl") is None:
        print("the cluster needs `go` and `kubectl` on the PATH", file=sys.stderr)
        return 2
    started, cluster = time.monotonic(), Cluster()
    match sys.argv[1:]:
        case ["up"]:
            with alone():
                anew = not cluster.is_up()
                cluster.start(say)
                cluster.load_images(say)
                if anew:
                    cluster.forget_images()
            print(f"the cluster is up after {time.monotonic() - started:.1f} s: export KUBECONFIG={cluster.kubeconfig}")
        case ["build"]:
            print(f"built: {binaries()}, {helm()} and {health()}")
        case ["down"]:
            cluster.stop()
            print("the cluster is down")
        case _:
            print("usage: python -m tests.cluster up | build | down", file=sys.stderr)
            return 2
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """Only one tree at a time starts the cluster and loads images, or one might remove what another has just loaded."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(words: str) -> None:
    """Tell what goes on."""
    print(f"  {words} ...", flush=True)


if __name__ == "__main__":
    sys.exit(main())

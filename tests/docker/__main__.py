"""`python -m tests.docker up | down`: start and end the Docker engine."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.docker.compose import compose
from tests.docker.engine import Engine
from tests.docker.kind import kind


def main() -> int:
    """Do what the one word says."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        print("the engine needs root, for its namespaces, and Debian, for docker.io", file=sys.stderr)
        return 2
    started, engine = time.monotonic(), Engine()
    match sys.argv[1:]:
        case ["up"]:
            print("  building what is not built yet (the first time takes some minutes) ...", flush=True)
            compose()
            kind()
            engine.start()
            engine.load_images(lambda words: print(f"  {words} ...", flush=True))
            print(f"the engine is up after {time.monotonic() - started:.1f} s: export DOCKER_HOST={engine.host}")
        case ["down"]:
            engine.stop()
            print("the engine is down")
        case _:
            print("usage: python -m tests.docker up | down", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

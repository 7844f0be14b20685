"""A publisher as a process of its own: says `ready`, waits for a line, publishes, and tells what came of it as JSON."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.publish import publish

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, source: Path, version: int | None, *, largest: int = -1) -> subprocess.Popen[str]:
    """A publisher that is ready, and waits for `go`.

    Args:
        folder: the model's folder in the store.
        source: what to publish.
        version: its number; None for the next one.
        largest: bytes that a file may have before the system refuses to write; -1 for any.
    """
    command = [sys.executable, "-m", "tests.store.publisher", str(folder), str(source), str(version or 0), str(largest)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    """Let a publisher begin."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What came of it, once it has ended."""
    output, _ = process.communicate(timeout=60)
    return dict(json.loads(output))


def main(folder: str, source: str, version: str, largest: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), resource.RLIM_INFINITY))
    try:
        record, was_there = publish(Path(folder), "ranker", Path(source), int(version) or None)
    except TfsdeployError as error:
        print(json.dumps({"exit": error.exit_code, "error": str(error)}))
    else:
        print(json.dumps({"exit": 0, "version": record.version, "digest": record.digest, "was_there": was_there}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A publisher as a process of its own: says `ready`, waits for a line, publishes, and tells what came of it as JSON.

It can be held before any of its steps in the store: what it opens, makes, renames or removes there.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.publish import publish

ROOT = Path(__file__).resolve().parents[2]


def start(
    folder: Path, source: Path, version: int | None, *, largest: int = -1, stop: int = 0
) -> subprocess.Popen[str]:
    """A publisher that is ready, and waits for `go`.

    Args:
        folder: the model's folder in the store.
        source: what to publish.
        version: its number; None for the next one.
        largest: bytes that a file may have before the system refuses to write; -1 for any.
        stop: the step before which it is held, with all of its threads; 0 for none.
    """
    words = [str(folder), str(source), str(version or 0), str(largest), str(stop)]
    command = [sys.executable, "-m", "tests.store.publisher", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    """Let a publisher begin."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def is_held(process: subprocess.Popen[str]) -> bool:
    """Wait until it is held before its step; False if it ended without having made so many."""
    assert process.stdout is not None
    return process.stdout.readline() == "held\n"


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What came of it, once it has ended; lets it go on if it is held."""
    output, _ = process.communicate(timeout=120)
    return dict(json.loads(output))


class _Steps:
    """Counts what the process does in a folder, and holds it before a certain step (`sys`, audit hooks)."""

    def __init__(self, folder: str, stop: int) -> None:
        self.count = 0
        self._folder = folder
        self._stop = stop
        self._lock = threading.Lock()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, words: tuple[object, ...]) -> None:
        # The rename that commits goes by ctypes, which tells the name of the function.
        if event == "ctypes.dlsym" or any(self._folder in str(word) for word in words):
            with self._lock:
                self.count += 1
                if self.count == self._stop:
                    print("held", flush=True)
                    sys.stdin.readline()


def main(folder: str, source: str, version: str, largest: str, stop: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    steps = _Steps(folder, int(stop))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), resource.RLIM_INFINITY))
    try:
        record, was_there = publish(Path(folder), "ranker", Path(source), int(version) or None)
    except TfsdeployError as error:
        done: dict[str, Any] = {"exit": error.exit_code, "error": str(error)}
    else:
        done = {"exit": 0, "version": record.version, "digest": record.digest, "was_there": was_there}
    print(json.dumps({**done, "steps": steps.count}))


if __name__ == "__main__":
    main(*sys.argv[1:])

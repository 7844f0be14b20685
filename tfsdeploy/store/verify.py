"""Whether a version's bytes are those of its commit record, and remembering which were found to be."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.record import File, Record

CHUNK = 1 << 20

Progress = Callable[[int, int], None]
"""Hears ``(bytes done, bytes in all)``."""


class Damaged(TfsdeployError):
    """A version whose bytes are not those of its commit record."""


def verify(path: Path, record: Record, progress: Progress = lambda done, total: None) -> None:
    """Hash every file of a version.

    Args:
        path: the version's folder.
        record: what it should be.
        progress: hears how far it is.

    Raises:
        Damaged: names the first file that differs, and how.
        OSError: the storage does not answer.
    """
    name = f"{record.model}/{record.version}"
    found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} - {RECORD_FILE}
    if extra := sorted(found - {file.path for file in record.files}):
        raise Damaged(f"{name}: {extra[0]} is not in the commit record")
    done = 0
    for file in record.files:
        problem = _quick_difference(path / file.path, file)
        if problem:
            raise Damaged(f"{name}: {file.path} {problem}")
    for file in record.files:
        digest = hashlib.sha256()
        with (path / file.path).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                done += len(chunk)
                progress(done, record.bytes)
        if digest.hexdigest() != file.sha256:
            raise Damaged(f"{name}: {file.path} has other bytes than its commit record says")


def _quick_difference(path: Path, file: File) -> str:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    return "" if size == file.size else f"has {size} bytes, the commit record says {file.size}"


class VerifiedCache:
    """Remembers which versions were verified, so that the same unchanged bytes are hashed once on a machine.

    Args:
        file: where it is kept; shared by all agents of a machine.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def knows(self, path: Path, record: Record) -> bool:
        """Whether these very files were verified, and none was touched since."""
        try:
            return self._read().get(str(path)) == _fingerprint(path, record)
        except OSError:
            return False

    def remember(self, path: Path, record: Record) -> None:
        """These files were verified. A cache that cannot be written costs time, nothing else."""
        try:
            print_ = _fingerprint(path, record)
            with self._file.with_name(self._file.name + ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = self._read() | {str(path): print_}
                temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
                temporary.write_text(json.dumps({key: value for key, value in known.items() if Path(key).is_dir()}))
                temporary.replace(self._file)
        except OSError:
            return

    def _read(self) -> dict[str, str]:
        try:
            plain = json.loads(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return plain if isinstance(plain, dict) else {}


def _fingerprint(path: Path, record: Record) -> str:
    """Changes whenever a file is written, replaced or removed: size, modification time and inode of each."""
    told = hashlib.sha256(record.digest.encode())
    for file in record.files:
        stat = (path / file.path).stat()
        told.update(f"{file.path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}\n".encode())
    return told.hexdigest()

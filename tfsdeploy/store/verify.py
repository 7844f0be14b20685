"""Whether a version's bytes are those of its commit record, and remembering which were found to be."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.store.record import Record
from tfsdeploy.store.tree import Progress, counter, files_of, fingerprint, hash_file, silent


class Damaged(TfsdeployError):
    """A version whose bytes are not those of its commit record."""


def verify(path: Path, record: Record, progress: Progress = silent) -> None:
    """Hash every file of a version.

    Args:
        path: the version's folder.
        record: what it should be.
        progress: hears how far it is.

    Raises:
        Damaged: names the first file that differs, and how: what can be seen without reading comes first.
        OSError: the storage does not answer.
    """
    name = f"{record.model}/{record.version}"
    try:
        found = files_of(path)
    except UsageError as error:
        raise Damaged(f"{name}: {error.message}") from error
    except FileNotFoundError as error:
        raise Damaged(f"{name}: its folder is gone", where=str(path)) from error
    listed = {file.path: file for file in record.files}
    for file in sorted(found.keys() | listed.keys()):
        if file not in listed:
            raise Damaged(f"{name}: {file} is not in the commit record")
        if file not in found:
            raise Damaged(f"{name}: {file} is missing")
        size = found[file].stat().st_size
        if size != listed[file].size:
            raise Damaged(f"{name}: {file} has {size} bytes, the commit record says {listed[file].size}")
    count = counter(progress, record.bytes)
    for file, path_of in found.items():
        if hash_file(path_of, count)[1] != listed[file].sha256:
            raise Damaged(f"{name}: {file} has other bytes than its commit record says")


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
        except (OSError, UsageError):
            return False

    def verify(self, path: Path, record: Record, progress: Progress = silent) -> None:
        """`verify`, unless that was done; remembers it. A cache that cannot be written costs time, nothing else.

        Raises:
            Damaged: see `verify`.
            OSError: the storage does not answer.
        """
        if self.knows(path, record):
            return
        try:
            before = _fingerprint(path, record)
        except (UsageError, FileNotFoundError):
            before = ""
        verify(path, record, progress)
        # Of before the reading: what is written meanwhile must be read again.
        self._remember(path, before)

    def trust(self, path: Path, record: Record) -> None:
        """Remember a version whose bytes were compared with its record when they were written."""
        self._remember(path, _fingerprint(path, record))

    def _remember(self, path: Path, seen: str) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.with_name(self._file.name + ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = {key: value for key, value in self._read().items() if Path(key).is_dir()}
                temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
                temporary.write_text(json.dumps(known | {str(path): seen}))
                temporary.replace(self._file)
        except OSError:
            return

    def _read(self) -> dict[str, str]:
        try:
            plain = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return plain if isinstance(plain, dict) else {}


def _fingerprint(path: Path, record: Record) -> str:
    return f"{record.digest} {fingerprint(files_of(path))}"

"""The folder of versions that the replicas of a machine share: who uses which, and what makes room for another.

It has the layout of a file store, and model servers read it in place: nothing is ever copied for one of them. Locks on
empty files below ``.locks`` say what is in use; they end with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store import durable
from tfsdeploy.store.record import InvalidRecord, Record
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.tree import Progress

SPARE_BYTES = 64 << 20
"""What a disk has to keep free: logs and the last good release must still be written."""

ABANDONED_SECONDS = 86400.0
"""What is left of a fetch that nobody goes on with is removed after so long, or when its room is needed."""

WAIT_SECONDS = 0.1

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A fetch that has begun: its folder, the bytes that it will have, those that it has, and when it was last used."""

    path: Path
    total: int
    done: int
    used: float


class Cache:
    """Versions on this machine; making one touches nothing.

    Args:
        folder: where they are.
        limit: bytes that all of them may have together; None: what the disk has.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.versions = FileStore(folder)
        self._limit = limit
        self._held: dict[Key, TextIO] = {}
        self._lock = threading.Lock()

    def hold(self, wanted: Collection[Key]) -> bool:
        """Say which versions are in use here: no process on this machine removes them.

        Returns:
            False if the disk refuses to note it of one; try again.
        """
        with self._lock:
            for gone in self._held.keys() - set(wanted):
                with suppress(OSError), self._held.pop(gone):
                    os.utime(self._lock_file(gone, "use"))
            for new in set(wanted) - self._held.keys():
                with suppress(OSError):
                    self._held[new] = _locked(self._lock_file(new, "use"), fcntl.LOCK_SH)
                    os.utime(self._lock_file(new, "use"))
            return self._held.keys() >= set(wanted)

    @contextmanager
    def alone(self, version: Key, progress: Progress) -> Iterator[None]:
        """One process of this machine brings a version; the others wait, and find it there."""
        while (lock := self._try_alone(version)) is None:
            progress(0, 0)
            time.sleep(WAIT_SECONDS)
        with lock:
            yield

    def begin(self, record: Record) -> Path:
        """Set room aside for a version that is about to come, and make the folder into which it comes.

        What an earlier try left there stays. Versions that nobody uses make room, those that were not used for longest
        first. To be called by whoever is `alone` with the version.

        Raises:
            TfsdeployError: it does not fit beside what is in use; says how much is missing.
        """
        root = self.versions.root
        durable.make_folders(root)
        place = self._place(record)
        with _locked(self._locks() / "room", fcntl.LOCK_EX):
            rubbish = self._rubbish(record, place)
            self._make_room(record, place, rubbish)
            durable.make_folders(place)
        # Beside the lock: to unlink gigabytes takes its time, and others only need to know that they are going.
        for path in rubbish:
            shutil.rmtree(path, ignore_errors=True)
        return place

    def remove(self, version: Key) -> bool:
        """Remove a version that no other process uses; whether it is gone."""
        away = self._put_away(version)
        if away is not None:
            shutil.rmtree(away, ignore_errors=True)
        return away is not None

    def put_aside(self, version: Key) -> None:
        """Remove a version whose bytes are found wrong, whoever uses it: a server that has loaded it has it open."""
        away = self._renamed(version)
        shutil.rmtree(away, ignore_errors=True)

    def _make_room(self, record: Record, place: Path, rubbish: list[Path]) -> None:
        """Note as rubbish what has to go, until the version fits beside what stays."""
        sizes = dict(self._sizes())
        begun = [one for one in self._begun() if one.path != place and one.path not in rubbish]
        live = [one for one in begun if self._is_live(one.path)]
        left = sorted((one for one in begun if one not in live), key=lambda one: one.used)
        unused = sorted((version for version in sizes if version not in self._held), key=self._last_use)
        mine = _bytes_below(place)
        going = sum(_bytes_below(path) for path in rubbish)
        while True:
            coming = sum(max(0, one.total - one.done) for one in live)
            free = shutil.disk_usage(self.versions.root).free + going + mine - SPARE_BYTES - coming
            if self._limit is not None:
                taken = sum(sizes.values()) + sum(one.total for one in live) + sum(one.done for one in left)
                free = min(free, self._limit - taken)
            if record.bytes <= free:
                return
            if left:
                one = left.pop(0)
                going += one.done
                rubbish.append(one.path)
            elif unused:
                oldest = unused.pop(0)
                if (away := self._put_away(oldest)) is not None:
                    going += sizes.pop(oldest)
                    rubbish.append(away)
            else:
                raise TfsdeployError(
                    f"{record.model}/{record.version} has {record.bytes} bytes, and there is room for {max(0, free)} "
                    f"beside {sum(sizes.values())} bytes of versions in use"
                    + (f" and {sum(one.total for one in live)} that are being fetched" if live else ""),
                    where=str(self.versions.root),
                    hint="raise serving.disk, or keep fewer versions",
                )

    def _rubbish(self, record: Record, place: Path) -> list[Path]:
        """What processes that were killed have left, and nobody goes on with."""
        found = list(self._hidden(".removed-"))
        for one in self._begun():
            old = time.time() - one.used > ABANDONED_SECONDS
            other = one.path.parent == place.parent and one.path.name.startswith(f".fetching-{record.version}-")
            if one.path != place and (other or (old and not self._is_live(one.path))):
                found.append(one.path)
        return found

    def _place(self, record: Record) -> Path:
        # The name tells other processes how much room is set aside.
        name = f".fetching-{record.version}-{record.bytes}-{record.digest.removeprefix('sha256:')[:16]}"
        return self.versions.model_path(record.model) / name

    def _begun(self) -> Iterator[_Begun]:
        for path in self._hidden(".fetching-"):
            parts = path.name.split("-")
            total = int(parts[2]) if len(parts) == 4 and parts[2].isdigit() else 0
            with suppress(FileNotFoundError):
                yield _Begun(path, total, _bytes_below(path), path.stat().st_mtime)

    def _is_live(self, place: Path) -> bool:
        """Whether a process of this machine is filling a folder."""
        number = place.name.split("-")[1]
        lock = self._try_alone((place.parent.name, int(number))) if number.isdigit() else None
        if lock is None:
            return number.isdigit()
        lock.close()
        return False

    def _hidden(self, prefix: str) -> Iterator[Path]:
        for model in self.versions.models():
            with suppress(FileNotFoundError), os.scandir(self.versions.model_path(model)) as entries:
                names = [entry.name for entry in entries if entry.name.startswith(prefix)]
                yield from (self.versions.model_path(model) / name for name in sorted(names))

    def _sizes(self) -> Iterator[tuple[Key, int]]:
        for model in self.versions.models():
            for version in self.versions.versions(model):
                with suppress(InvalidRecord):
                    if (record := self.versions.record(model, version)) is not None:
                        yield (model, version), record.bytes

    def _put_away(self, version: Key) -> Path | None:
        """Take a version that no other process uses out of everybody's sight; None if one does."""
        with self._lock:
            ours = self._held.pop(version, None)
            if ours is not None:
                ours.close()
            try:
                with _locked(self._lock_file(version, "use"), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    return self._renamed(version)
            except BlockingIOError:
                return None
            finally:
                if ours is not None:
                    self._held[version] = _locked(self._lock_file(version, "use"), fcntl.LOCK_SH)

    def _renamed(self, version: Key) -> Path:
        path = self.versions.version_path(*version)
        away = path.with_name(f".removed-{version[1]}-{os.getpid()}-{time.monotonic_ns()}")
        with suppress(FileNotFoundError):
            path.rename(away)
        return away

    def _try_alone(self, version: Key) -> TextIO | None:
        try:
            return _locked(self._lock_file(version, "fetch"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None

    def _last_use(self, version: Key) -> float:
        try:
            return self._lock_file(version, "use").stat().st_mtime
        except OSError:
            return 0.0

    def _lock_file(self, version: Key, what: str) -> Path:
        return self._locks() / f"{version[0]}.{version[1]}.{what}"

    def _locks(self) -> Path:
        folder = self.versions.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _bytes_below(folder: Path) -> int:
    """The bytes of all files in a folder; 0 if it is not there."""
    found = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found += Path(base, name).lstat().st_size
    return found


def _locked(file: Path, how: int) -> TextIO:
    """A file with a lock, which ends when it is closed or its process ends."""
    # To be read, too: NFS 4 gives no shared lock on what can only be written.
    opened = file.open("a+")
    try:
        fcntl.flock(opened, how)
    except BaseException:
        opened.close()
        raise
    return opened

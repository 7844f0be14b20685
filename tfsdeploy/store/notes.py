"""A store's own notes: small documents below ``.tfsdeploy/``, each changed only by whoever has read its last state."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.files import replace_file
from tfsdeploy.store.answers import StoreAway, Taken
from tfsdeploy.store.bucket import Bucket

FOLDER = ".tfsdeploy"


class Notes(Protocol):
    """The notes of one store; every method raises TfsdeployError if the store is away or refuses."""

    def names(self, folder: str) -> list[str]:
        """The names of the notes in a folder such as ``refs``, sorted."""

    def read(self, name: str) -> bytes | None:
        """What a note such as ``refs/shop.json`` says; None if there is none."""

    def swap(self, name: str, before: bytes | None, after: bytes | None) -> bool:
        """Write ``after`` (None: remove it) if the note still says ``before`` (None: there is none); whether it did."""

    def now(self) -> datetime:
        """The time by the store's own clock, which it gives to what is written there for that."""

    def glimpse(self) -> datetime | None:
        """The same, if nothing stays of asking for it; None if something would, or the store cannot be written."""


class FileNotes:
    """Notes of a store that is a folder.

    Args:
        root: the store's folder, which is there.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def names(self, folder: str) -> list[str]:
        """See `Notes.names`."""
        with _told(self._folder):
            try:
                return sorted(name for name in os.listdir(self._folder / folder) if not name.startswith("."))
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes | None:
        """See `Notes.read`."""
        with _told(self._folder):
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def swap(self, name: str, before: bytes | None, after: bytes | None) -> bool:
        """See `Notes.swap`."""
        file = self._folder / name
        with _told(file):
            for folder in (self._folder, file.parent):
                # Not the store itself: where a mount is missing, nothing may be made in its place.
                folder.mkdir(exist_ok=True)
            with open(self._folder / ".lock", "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.read(name) != before:
                    return False
                if after is None:
                    file.unlink(missing_ok=True)
                else:
                    replace_file(file, after.decode())
                return True

    def now(self) -> datetime:
        """See `Notes.now`; of a mount it is the server's clock."""
        with _told(self._folder):
            # Not in the store itself, unless it has no folder for this yet: there, models are.
            place = self._folder if self._folder.is_dir() else self._folder.parent
            with tempfile.TemporaryFile(dir=place) as made:
                return datetime.fromtimestamp(os.fstat(made.fileno()).st_ctime, UTC)

    def glimpse(self) -> datetime | None:
        """See `Notes.glimpse`."""
        try:
            return self.now()
        except TfsdeployError:
            return None


class BucketNotes:
    """Notes of an object store.

    One that is removed stays as an empty object: object stores delete without looking, and would delete what somebody
    has written at that moment.

    Args:
        bucket: the store.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def names(self, folder: str) -> list[str]:
        """See `Notes.names`."""
        prefix = f"{FOLDER}/{folder}"
        return sorted(entry.key[len(prefix) + 1 :] for entry in self._bucket.list(prefix) if entry.size)

    def read(self, name: str) -> bytes | None:
        """See `Notes.read`."""
        return self._bucket.get(f"{FOLDER}/{name}") or None

    def swap(self, name: str, before: bytes | None, after: bytes | None) -> bool:
        """See `Notes.swap`."""
        key = f"{FOLDER}/{name}"
        found = self._bucket.get_with_stat(key)
        if ((found and found[0]) or None) != before:
            return False
        try:
            if found is not None:
                self._bucket.put(key, after or b"", replaces=found[1].etag)
            elif after is not None:
                self._bucket.put(key, after, create=True)
        except Taken:
            # The answer to a write of ours may have been lost on the way.
            return self.read(name) == after
        return True

    def now(self) -> datetime:
        """See `Notes.now`; the object that is written for it stays, empty."""
        key = f"{FOLDER}/clock"
        self._bucket.put(key, b"")
        found = self._bucket.get_with_stat(key)
        if found is None:
            raise StoreAway("what was just written is not there", where=self._bucket.where(key), hint="run this again")
        return found[1].modified

    def glimpse(self) -> datetime | None:
        """See `Notes.glimpse`."""
        return None


@contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = str(error.filename or place)
        raise TfsdeployError(f"the store's notes cannot be kept: {error.strerror}", where=where) from error

"""Read every byte of a version in an object store: what its files are, and whether its commit record says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from tfsdeploy.store.bucket import PART, Bucket, Entry
from tfsdeploy.store.record import File, Record
from tfsdeploy.store.several import Count, several
from tfsdeploy.store.tree import Progress
from tfsdeploy.store.verify import Damaged


def hash_objects(bucket: Bucket, entries: Mapping[str, Entry], progress: Progress) -> tuple[File, ...]:
    """The files that objects are.

    Args:
        bucket: the store.
        entries: the objects, by the path that they have in their version.
        progress: hears how many bytes are read.

    Returns:
        Sorted by path.

    Raises:
        Replaced: one changed since it was listed.
        StoreError: one cannot be read.
    """

    def hashed(item: tuple[str, Entry], count: Count) -> File:
        return hash_object(bucket, *item, count)

    total = sum(entry.size for entry in entries.values())
    return tuple(sorted(several(hashed, entries.items(), total, progress)))


def verify(bucket: Bucket, record: Record, progress: Progress) -> None:
    """Hash every file that a commit record names. What else is beside them means nothing in an object store.

    Raises:
        Damaged: names the first file that differs, and how: what can be seen without reading comes first.
        StoreError: the store does not answer.
    """
    name, folder = f"{record.model}/{record.version}", f"{record.model}/{record.version}/"
    there = {entry.key.removeprefix(folder): entry for entry in bucket.list(folder.rstrip("/"))}
    for file in record.files:
        if file.path not in there:
            raise Damaged(f"{name}: {file.path} is missing")
        size = there[file.path].size
        if size != file.size:
            raise Damaged(f"{name}: {file.path} has {size} bytes, the commit record says {file.size}")
    for found in hash_objects(bucket, {file.path: there[file.path] for file in record.files}, progress):
        if found not in record.files:
            raise Damaged(f"{name}: {found.path} has other bytes than its commit record says")


def pieces(bucket: Bucket, entry: Entry) -> Iterator[bytes]:
    """An object's content, a part at a time.

    Raises:
        Replaced: it changed since it was listed.
        StoreError: it cannot be read.
    """
    for start in range(0, entry.size, PART):
        yield bucket.get_range(entry.key, start, min(start + PART, entry.size), entry.etag)


def hash_object(bucket: Bucket, name: str, entry: Entry, count: Count) -> File:
    """The file that one object is.

    Args:
        bucket: the store.
        name: the path that it has in its version.
        entry: the object.
        count: is told of every piece of it.

    Raises:
        Replaced: it changed since it was listed.
        StoreError: it cannot be read.
    """
    digest = hashlib.sha256()
    for piece in pieces(bucket, entry):
        digest.update(piece)
        count(len(piece))
    return File(name, entry.size, digest.hexdigest())

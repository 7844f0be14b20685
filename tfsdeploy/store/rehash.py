"""Read every byte of a version in an object store: what its files are, and whether its commit record says so."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from tfsdeploy.store.answers import StoreAway
from tfsdeploy.store.bucket import PART, Bucket, Entry
from tfsdeploy.store.record import File, Record
from tfsdeploy.store.several import Count, several
from tfsdeploy.store.tree import Progress
from tfsdeploy.store.verify import Damaged

READINGS = 4
"""How often an object is read whose tag is not the sum of what was read, until two readings agree."""

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


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
    return _all(bucket, entries, progress, hash_object)


def hash_new(bucket: Bucket, entries: Mapping[str, Entry], progress: Progress) -> tuple[File, ...]:
    """`hash_objects` where no record says yet what they should be: see `hash_new_object`."""
    return _all(bucket, entries, progress, hash_new_object)


def _all(
    bucket: Bucket,
    entries: Mapping[str, Entry],
    progress: Progress,
    hash_one: Callable[[Bucket, str, Entry, Count], File],
) -> tuple[File, ...]:
    def hashed(item: tuple[str, Entry], count: Count) -> File:
        return hash_one(bucket, *item, count)

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
    return _read(bucket, name, entry, count, ())


def hash_new_object(bucket: Bucket, name: str, entry: Entry, count: Count) -> File:
    """`hash_object` where no record says yet what the object should be: what the way here changes must not become true.

    S3's tag of an object that was written by one request is the MD5 sum of its bytes, unless the store encrypts them
    with a key of its owner's. If it is not that of what was read, the object is read again until two readings agree.
    Of other tags nothing can be told.

    Raises:
        StoreAway: no two readings agree.
    """
    tag = _MD5.fullmatch(entry.etag or "")
    if tag is None:
        return hash_object(bucket, name, entry, count)
    seen = set[File]()
    for reading in range(READINGS):
        md5 = hashlib.md5(usedforsecurity=False)
        file = _read(bucket, name, entry, count if reading == 0 else lambda _: count(0), (md5,))
        if file in seen or tag[1] == md5.hexdigest():
            return file
        seen.add(file)
    raise StoreAway("no two readings give the same bytes", where=bucket.where(entry.key), hint="run this again")


def _read(bucket: Bucket, name: str, entry: Entry, count: Count, more: Sequence[hashlib._Hash]) -> File:
    digest = hashlib.sha256()
    for piece in pieces(bucket, entry):
        for one in (digest, *more):
            one.update(piece)
        count(len(piece))
    return File(name, entry.size, digest.hexdigest())

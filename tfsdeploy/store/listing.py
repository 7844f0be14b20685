"""The files below a prefix of an object store, as a folder on a disk would have them."""

from __future__ import annotations

from tfsdeploy.errors import UsageError
from tfsdeploy.store.bucket import Bucket, Entry


def files_below(bucket: Bucket, prefix: str) -> dict[str, Entry]:
    """Every file, by its path below the prefix.

    Markers of folders are left out: empty objects ``a/``, as TensorFlow and the consoles of the stores make them. They
    are listed as ``a``, under which nothing is found.

    Raises:
        UsageError: one has a name that cannot be part of a version.
        StoreError: they cannot be listed.
    """
    found = {entry.key[len(prefix) + 1 :]: entry for entry in bucket.list(prefix)}
    for name in found:
        if name and not name.isprintable():
            raise UsageError(f"{name!r} has a name of other than printable characters", where=bucket.where(prefix))
    return {name: entry for name, entry in found.items() if name and (entry.size or bucket.stat(entry.key))}

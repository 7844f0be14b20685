"""What `push --from URL` publishes: copied inside the store where it is there, otherwise sent on from where it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.files import temporary_folder
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.store.bucket import Bucket, Entry, open_bucket
from tfsdeploy.store.inside import Prefix
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import File
from tfsdeploy.store.rehash import pieces
from tfsdeploy.store.several import Count, several
from tfsdeploy.store.store import Store, file_store
from tfsdeploy.store.tree import Progress, silent


class Elsewhere:
    """A SavedModel that a URL names.

    Args:
        url: ``file://``, or an object store's; in the bucket of ``store`` or another one at the same endpoint.
        store: where it is to be published.
        options: how both are reached.

    Raises:
        UsageError: the URL names nothing that can be published.
    """

    def __init__(self, url: str, store: Store, options: Mapping[str, object]) -> None:
        self._url = url
        self._store = store
        self._options = options
        # Not as URLs are read: ? and # are characters of a key like any other.
        scheme, _, rest = url.partition("://")
        bucket, _, path = rest.partition("/")
        self._prefix = path.strip("/")
        if is_object_store(url) and not (bucket and self._prefix):
            raise UsageError("this names no folder", where=url, hint="s3://BUCKET/PATH/OF/THE/MODEL")
        self._bucket_url = f"{scheme}://{bucket}"

    @contextmanager
    def origin(self, progress: Progress = silent, copy: Path | None = None) -> Iterator[Path | Prefix]:
        """What `Store.publish` takes: the folder, or objects that the store copies by itself, or gets from others.

        Args:
            progress: hears how many bytes are fetched, if that has to be first.
            copy: where `folder` has put the files already, within its context; None if it has not.
        """
        inside = urlsplit(self._store.url)
        objects = is_object_store(self._url) and isinstance(self._store, ObjectStore)
        if objects and f"{inside.scheme}://{inside.netloc}" == self._bucket_url:
            yield Prefix(self._bucket(), self._prefix, inside.path.strip("/"))
        elif copy is not None:
            yield copy
        elif objects:
            yield Prefix(self._bucket(), self._prefix, None)
        else:
            with self.folder(progress) as folder:
                yield folder

    @contextmanager
    def folder(self, progress: Progress) -> Iterator[Path]:
        """The files on a disk of this machine; an object store's are fetched, and removed afterwards.

        Raises:
            TfsdeployError: there is no room for them, or the store does not give them.
        """
        if not is_object_store(self._url):
            yield file_store(self._url).root
            return
        with temporary_folder("tfsdeploy-push-") as root:
            try:
                _bring(self._bucket(), self._prefix, root, progress)
            except OSError as error:
                hint = "TMPDIR names a folder with room for one version"
                raise TfsdeployError(f"no copy could be kept: {error.strerror}", where=str(root), hint=hint) from error
            yield root

    def _bucket(self) -> Bucket:
        return open_bucket(self._bucket_url, self._options)


def _bring(bucket: Bucket, prefix: str, root: Path, progress: Progress) -> None:
    found = Prefix(bucket, prefix, None)

    def bring(item: tuple[str, Entry], count: Count) -> File:
        name, entry = item
        digest = hashlib.sha256()
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with (root / name).open("wb") as stream:
            for piece in pieces(bucket, entry):
                digest.update(piece)
                stream.write(piece)
                count(len(piece))
        return File(name, entry.size, digest.hexdigest())

    found.check_true(several(bring, found.entries.items(), sum(found.sizes.values()), progress))
    found.check_unchanged()

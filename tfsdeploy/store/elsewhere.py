"""What `push --from URL` publishes: copied inside the store where it is there, otherwise through a folder here."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.store.bucket import PART, Bucket, Entry, open_bucket
from tfsdeploy.store.inside import Prefix
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.record import File
from tfsdeploy.store.rehash import WORKERS
from tfsdeploy.store.store import Store, file_store
from tfsdeploy.store.tree import Progress, counter


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
    def origin(self) -> Iterator[Path | Prefix]:
        """What `Store.publish` takes: the folder, or what the store copies by itself."""
        inside = urlsplit(self._store.url)
        if isinstance(self._store, ObjectStore) and f"{inside.scheme}://{inside.netloc}" == self._bucket_url:
            yield Prefix(self._bucket(), self._prefix, inside.path.strip("/"))
            return
        with self.folder(lambda done, total: None) as folder:
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
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tfsdeploy-push-")))
            try:
                _bring(self._bucket(), self._prefix, root, progress)
            except OSError as error:
                hint = "TMPDIR names a folder with room for one version"
                raise TfsdeployError(f"no copy could be kept: {error.strerror}", where=str(root), hint=hint) from error
            yield root

    def _bucket(self) -> Bucket:
        return open_bucket(self._bucket_url, self._options)


def _bring(bucket: Bucket, prefix: str, root: Path, progress: Progress) -> None:
    found = Prefix(bucket, prefix, "")
    count = counter(progress, sum(found.sizes.values()))

    def bring(item: tuple[str, Entry]) -> File:
        name, entry = item
        digest = hashlib.sha256()
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with (root / name).open("wb") as stream:
            for start in range(0, entry.size, PART):
                piece = bytes(bucket.get_range(entry.key, start, min(start + PART, entry.size), entry.etag))
                digest.update(piece)
                stream.write(piece)
                count(piece)
        return File(name, entry.size, digest.hexdigest())

    with ThreadPoolExecutor(WORKERS, "bring") as pool:
        found.check_true(tuple(pool.map(bring, found.entries.items())))
    found.check_unchanged()

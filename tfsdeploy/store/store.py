"""A model store by its URL: the seam between the file system and the object stores."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.names import RECORD_FILE, is_model_name, parse_version
from tfsdeploy.store.record import Record, read
from tfsdeploy.store.tree import Progress, silent

if TYPE_CHECKING:
    from tfsdeploy.store.notes import Notes
    from tfsdeploy.store.savedmodel import SavedModelInfo


class Store(Protocol):
    """Where models live, as ``MODEL/N/files``."""

    url: str

    def check_there(self) -> None:
        """Raise TfsdeployError if the store cannot be listed, or is not there."""

    def models(self) -> list[str]:
        """The names of the models that have a folder, sorted."""

    def versions(self, model_name: str) -> list[int]:
        """The numbers of a model's committed versions, ascending."""

    def uncommitted(self, model_name: str) -> list[int]:
        """The numbers of folders without a commit record, ascending."""

    def newest(self, model_name: str) -> int | None:
        """The highest committed version, without looking at the others; None if there is none."""

    def record(self, model_name: str, version: int) -> Record | None:
        """A version's commit record; None if there is none."""

    def describe(self, model_name: str, version: int) -> SavedModelInfo:
        """What a committed version's SavedModel says of itself; UsageError if it is no sound one."""

    def verify(self, record: Record, progress: Progress = ...) -> None:
        """Hash every file of a version; raises Damaged if it is not what its commit record says."""

    def publish(
        self,
        model_name: str,
        source: Path,
        version: int | None,
        progress: Progress = ...,
        *,
        above: int = ...,
        like: Record | None = ...,
    ) -> tuple[Record, bool]:
        """See `tfsdeploy.store.publish.publish`."""

    def adopt(self, model_name: str, version: int, progress: Progress = ...) -> tuple[Record, bool]:
        """See `tfsdeploy.store.publish.adopt`."""

    @property
    def notes(self) -> Notes:
        """Its own notes."""

    def discard(self, model_name: str, version: int) -> None:
        """Remove a version, or what is left of one: out of everybody's sight first. Busy if somebody publishes it."""


class FileStore:
    """A store that is a folder.

    Args:
        root: the folder that holds the models.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root.as_uri()

    def check_there(self) -> None:
        """See `Store.check_there`."""
        try:
            next(self.root.iterdir(), None)
        except OSError as error:
            raise TfsdeployError("the store is away: its folder is not there", where=self.url) from error

    def models(self) -> list[str]:
        """See `Store.models`."""
        return sorted(name for name in _entries(self.root) if is_model_name(name))

    def versions(self, model_name: str) -> list[int]:
        """See `Store.versions`."""
        return [n for n in self._numbers(model_name) if self._committed(model_name, n)]

    def uncommitted(self, model_name: str) -> list[int]:
        """See `Store.uncommitted`."""
        return [n for n in self._numbers(model_name) if not self._committed(model_name, n)]

    def newest(self, model_name: str) -> int | None:
        """See `Store.newest`."""
        for number in reversed(self._numbers(model_name)):
            if self._committed(model_name, number):
                return number
        return None

    def record(self, model_name: str, version: int) -> Record | None:
        """See `Store.record`; raises InvalidRecord for nonsense, and for the record of another version."""
        path = self.version_path(model_name, version)
        try:
            return read(path, model_name, version)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TfsdeployError(
                f"the commit record cannot be read: {error.strerror}", where=str(path / RECORD_FILE)
            ) from error

    def describe(self, model_name: str, version: int) -> SavedModelInfo:
        """See `Store.describe`."""
        from tfsdeploy.store.savedmodel import inspect

        return inspect(self.version_path(model_name, version))

    def verify(self, record: Record, progress: Progress = silent) -> None:
        """See `Store.verify`."""
        from tfsdeploy.store.verify import verify

        path = self.version_path(record.model, record.version)
        try:
            verify(path, record, progress)
        except OSError as error:
            raise TfsdeployError(f"it cannot be read: {error.strerror}", where=str(error.filename or path)) from error

    def publish(
        self,
        model_name: str,
        source: Path,
        version: int | None,
        progress: Progress = silent,
        *,
        above: int = 0,
        like: Record | None = None,
    ) -> tuple[Record, bool]:
        """See `Store.publish`."""
        from tfsdeploy.store.publish import publish

        return publish(self.model_path(model_name), model_name, source, version, progress, above=above, like=like)

    def adopt(self, model_name: str, version: int, progress: Progress = silent) -> tuple[Record, bool]:
        """See `Store.adopt`."""
        from tfsdeploy.store.publish import adopt

        return adopt(self.model_path(model_name), model_name, version, progress)

    @property
    def notes(self) -> Notes:
        """See `Store.notes`."""
        from tfsdeploy.store.notes import FileNotes

        return FileNotes(self.root)

    def discard(self, model_name: str, version: int) -> None:
        """See `Store.discard`."""
        from tfsdeploy.store.staging import remove

        path = self.version_path(model_name, version)
        try:
            remove(path)
        except OSError as error:
            raise TfsdeployError(
                f"it cannot be removed: {error.strerror}", where=str(error.filename or path)
            ) from error

    def model_path(self, model_name: str) -> Path:
        """The folder of a model: what TF Serving calls its base path."""
        if not is_model_name(model_name):
            raise UsageError(
                f"{model_name!r} is not a model name", hint="letters, digits, _ and -, at most 63 characters"
            )
        return self.root / model_name

    def version_path(self, model_name: str, version: int) -> Path:
        """The folder of a version."""
        return self.model_path(model_name) / str(version)

    def _committed(self, model_name: str, version: int) -> bool:
        """Whether there is a record; what cannot be looked at is taken for one, and reading it says why it cannot."""
        try:
            return stat.S_ISREG(os.stat(self.version_path(model_name, version) / RECORD_FILE).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    def _numbers(self, model_name: str) -> list[int]:
        return sorted(n for name in _entries(self.model_path(model_name)) if (n := parse_version(name)))


def open_store(url: str, options: Mapping[str, object] | None = None) -> Store:
    """The store behind a URL. Touches neither disk nor network.

    Args:
        url: ``file:///absolute/path``, ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.
        options: for object stores: the fields of `tfsdeploy.fleet.model.StoreOptions` by name.

    Raises:
        UsageError: a URL that is none of those.
        TfsdeployError: an option cannot be used, such as a CA file that is not there.
    """
    if not is_object_store(url):
        return file_store(url)
    from tfsdeploy.store.bucket import open_bucket
    from tfsdeploy.store.objects import ObjectStore

    return ObjectStore(open_bucket(url, options))


def file_store(url: str) -> FileStore:
    """The folder behind a ``file:///absolute/path``. Touches nothing yet.

    Raises:
        UsageError: it is no such URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"this is no URL: {error}", where=url, hint="use file:///absolute/path") from error
    if parts.scheme != "file":
        raise UsageError(
            f"{parts.scheme or url!r} is no store that can be used from here",
            where=url,
            hint="file:///absolute/path, s3://, gs:// or az://",
        )
    path = Path(unquote(parts.path))
    plain = not parts.query and not parts.fragment and "\0" not in str(path)
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or not plain:
        hint = "write file:///srv/models; %23 for #, %3F for ?"
        raise UsageError("a file store needs an absolute path", where=url, hint=hint)
    return FileStore(path)


def _entries(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise TfsdeployError(f"the store cannot be listed: {error.strerror}", where=str(folder)) from error

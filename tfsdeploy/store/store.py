"""A model store by its URL: the seam between the file system and the object stores."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.files import replace_file
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.names import RECORD_FILE, is_model_name, parse_version
from tfsdeploy.store.record import File, Record, encode, read
from tfsdeploy.store.said import NOTHING, Said
from tfsdeploy.store.tree import Progress, silent

if TYPE_CHECKING:
    from tfsdeploy.store.notes import Notes
    from tfsdeploy.store.origin import Origin
    from tfsdeploy.store.savedmodel import SavedModelInfo


class Store(Protocol):
    """Where models live, as ``MODEL/N/files``.

    Attributes:
        url: for people; has no secrets.
        trusted: public keys, one of which must have signed a record; empty: none has to.
    """

    url: str
    trusted: Collection[str]

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
        """A version's commit record; None if there is none.

        Raises:
            InvalidRecord: nonsense, the record of another version, or one without a signature that must be there.
        """

    def dated(self, model_name: str, version: int) -> tuple[Record, datetime] | None:
        """A version's commit record, and when it was last written in this store, by the store's clock.

        As for `record`; what was mirrored came to this store later than it was committed.
        """

    def describe(self, model_name: str, version: int) -> SavedModelInfo:
        """What a committed version's SavedModel says of itself; UsageError if it is no sound one."""

    def content(self, record: Record, file: File) -> bytes:
        """One small file of a version; raises Damaged if it is not what the commit record says."""

    def verify(self, record: Record, progress: Progress = ...) -> None:
        """Hash every file of a version; raises Damaged if it is not what its commit record says."""

    def publish(
        self,
        model_name: str,
        source: Path | Origin,
        version: int | None,
        progress: Progress = ...,
        *,
        above: int = ...,
        said: Said = ...,
    ) -> tuple[Record, bool]:
        """See `tfsdeploy.store.publish.publish`."""

    def adopt(
        self, model_name: str, version: int, progress: Progress = ..., *, said: Said = ...
    ) -> tuple[Record, bool]:
        """See `tfsdeploy.store.publish.adopt`."""

    def sign(self, model_name: str, version: int, sign: Callable[[Record], Record]) -> Record:
        """Put a signature on the commit record of a version, whose bytes the caller has compared with it.

        Raises:
            UsageError: there is no such version.
            Busy: others changed the record meanwhile.
        """

    @property
    def notes(self) -> Notes:
        """Its own notes."""

    def discard(self, model_name: str, version: int) -> None:
        """Remove a version, or what is left of one: out of everybody's sight first. Busy if somebody publishes it."""


class FileStore:
    """A store that is a folder.

    Args:
        root: the folder that holds the models.
        trusted: public keys, one of which must have signed a record; empty: none has to.
    """

    def __init__(self, root: Path, trusted: Collection[str] = ()) -> None:
        self.root = root
        self.trusted = trusted
        self.url = root.as_uri()

    def check_there(self) -> None:
        """See `Store.check_there`."""
        try:
            next(self.root.iterdir(), None)
        except OSError as error:
            raise TfsdeployError(f"the store is away: {error.strerror}", where=self.url) from error

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
        """See `Store.record`."""
        found = self.dated(model_name, version)
        return None if found is None else found[0]

    def dated(self, model_name: str, version: int) -> tuple[Record, datetime] | None:
        """See `Store.dated`."""
        path = self.version_path(model_name, version)
        try:
            record = trusted(read(path, model_name, version), self.trusted)
            # Not the time of its content, which tools that copy folders keep.
            return record, datetime.fromtimestamp(os.stat(path / RECORD_FILE).st_ctime, UTC)
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

    def content(self, record: Record, file: File) -> bytes:
        """See `Store.content`."""
        path = self.version_path(record.model, record.version) / file.path
        try:
            return true_content(path.read_bytes(), record, file)
        except OSError as error:
            raise TfsdeployError(f"it cannot be read: {error.strerror}", where=str(path)) from error

    def verify(self, record: Record, progress: Progress = silent) -> None:
        """See `Store.verify`."""
        from tfsdeploy.store.verify import Damaged, verify

        path = self.version_path(record.model, record.version)
        try:
            verify(path, record, progress)
        except OSError as error:
            if error.errno == errno.EIO:
                # The disk's own word for rot, and a mount's for a server that does not answer.
                self.check_there()
                name = f"{record.model}/{record.version}"
                raise Damaged(f"{name} cannot be read: {error.strerror}", where=str(error.filename or path)) from error
            raise TfsdeployError(f"it cannot be read: {error.strerror}", where=str(error.filename or path)) from error

    def publish(
        self,
        model_name: str,
        source: Path | Origin,
        version: int | None,
        progress: Progress = silent,
        *,
        above: int = 0,
        said: Said = NOTHING,
    ) -> tuple[Record, bool]:
        """See `Store.publish`."""
        from tfsdeploy.store.publish import publish

        if not isinstance(source, Path):
            raise UsageError("a folder cannot be filled from inside an object store", where=self.url)
        return publish(self.model_path(model_name), model_name, source, version, progress, above=above, said=said)

    def adopt(
        self, model_name: str, version: int, progress: Progress = silent, *, said: Said = NOTHING
    ) -> tuple[Record, bool]:
        """See `Store.adopt`."""
        from tfsdeploy.store.publish import adopt

        return adopt(self.model_path(model_name), model_name, version, progress, said=said)

    def sign(self, model_name: str, version: int, sign: Callable[[Record], Record]) -> Record:
        """See `Store.sign`."""
        path = self.version_path(model_name, version)
        try:
            record = sign(read(path, model_name, version))
            replace_file(path / RECORD_FILE, encode(record))
            (path / RECORD_FILE).chmod(0o644)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError("there is no such version", where=str(path)) from error
        except OSError as error:
            raise TfsdeployError(f"it cannot be signed: {error.strerror}", where=str(path)) from error
        return record

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
        options: the fields of `tfsdeploy.fleet.model.StoreOptions` by name; how it is reached is for object stores.

    Raises:
        UsageError: a URL that is none of those.
        StoreClosed: what is to open it cannot be used, such as a CA file that is not there.
    """
    trusted = trusted_keys(options)
    if not is_object_store(url):
        return file_store(url, trusted)
    from tfsdeploy.store.bucket import open_bucket
    from tfsdeploy.store.objects import ObjectStore

    return ObjectStore(open_bucket(url, options), trusted)


def file_store(url: str, trusted: Collection[str] = ()) -> FileStore:
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
    return FileStore(path, trusted)


def true_content(content: bytes, record: Record, file: File) -> bytes:
    """A file's content, if it is what the commit record says.

    Raises:
        Damaged: it is not.
    """
    if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
        from tfsdeploy.store.verify import Damaged

        raise Damaged(f"{record.model}/{record.version}: {file.path} has other bytes than its commit record says")
    return content


def trusted(record: Record, keys: Collection[str]) -> Record:
    """The record, if one of the keys has signed it, or none is asked for.

    Raises:
        Untrusted: it has no such signature.
    """
    if keys:
        from tfsdeploy.store.signing import check_signed

        check_signed(record, keys)
    return record


def trusted_keys(options: Mapping[str, object] | None) -> tuple[str, ...]:
    """The keys, one of which must have signed a record; empty if none has to.

    Args:
        options: as for `open_store`.

    Raises:
        UsageError: they cannot be understood, which must not mean that nothing has to be signed.
    """
    value = (options or {}).get("require_signature")
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(key, str) for key in value):
        raise UsageError("require_signature is no list of keys", where="store options")
    return tuple(value)


def _entries(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise TfsdeployError(f"the store cannot be listed: {error.strerror}", where=str(folder)) from error

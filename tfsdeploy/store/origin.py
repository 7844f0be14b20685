"""Where a version that is published to an object store comes from: a folder of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.hold import Hold
from tfsdeploy.store.record import File
from tfsdeploy.store.savedmodel import SavedModelInfo, inspect
from tfsdeploy.store.sending import OnDisk, send
from tfsdeploy.store.source import look_at
from tfsdeploy.store.tree import Progress


class Origin(Protocol):
    """The files of a version before it is one."""

    @property
    def info(self) -> SavedModelInfo:
        """What the SavedModel says of itself."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Relative path with ``/`` -> bytes."""

    def hashed(self, progress: Progress) -> tuple[File, ...]:
        """Every file with its SHA-256, sorted."""

    def send(self, bucket: Bucket, folder: str, hold: Hold, progress: Progress) -> tuple[File, ...]:
        """Put every file below ``folder``; see `tfsdeploy.store.sending.send`."""

    def check_unchanged(self) -> None:
        """Raise TfsdeployError if anything was touched since it was looked at."""


class Folder:
    """A SavedModel on a disk.

    Args:
        path: its folder.

    Raises:
        UsageError: it is no complete SavedModel.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.info = inspect(path)
        self._source = look_at(path)
        self.sizes: Mapping[str, int] = {name: file.stat().st_size for name, file in self._source.files.items()}

    def hashed(self, progress: Progress) -> tuple[File, ...]:
        """See `Origin.hashed`."""
        return self._source.hashed(progress)

    def send(self, bucket: Bucket, folder: str, hold: Hold, progress: Progress) -> tuple[File, ...]:
        """See `Origin.send`."""
        return send(bucket, folder, {name: OnDisk(path) for name, path in self._source.files.items()}, hold, progress)

    def check_unchanged(self) -> None:
        """See `Origin.check_unchanged`."""
        self._source.check_unchanged()

"""Copy a version with its commit record from one store to another: the same number, bytes, publisher and time there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.files import temporary_folder
from tfsdeploy.store.record import Record, statement, with_signed
from tfsdeploy.store.said import Said
from tfsdeploy.store.source import same_or_busy
from tfsdeploy.store.store import FileStore, Store
from tfsdeploy.store.tree import Progress, silent


def mirror(
    source: Store, target: Store, model_name: str, version: int, progress: Progress = silent
) -> tuple[Record, bool]:
    """Copy one version, every byte compared with the record on the way.

    Args:
        source: has it.
        target: is to have it.
        model_name: the model.
        version: its number.
        progress: hears how many bytes are done, of the way here and of the way there.

    Returns:
        The commit record, and whether the target had it before.

    Raises:
        UsageError: the source has no such version.
        Busy: the target has this number with other bytes, or somebody is publishing it.
        Damaged: the source's bytes are not those of its record.
        TfsdeployError: a store is away or refuses; nothing of the version is visible there.
    """
    record = source.record(model_name, version)
    if record is None:
        raise UsageError(f"model {model_name} has no committed version {version}", where=source.url)
    there = target.record(model_name, version)
    if there is not None:
        return _with_signatures(target, same_or_busy(there, record.digest), record), True
    with _as_folder(source, record, progress) as folder:
        try:
            return target.publish(model_name, folder, version, progress, said=Said(like=record))
        except Busy:
            raise
        except TfsdeployError:
            # If the source is to blame, it says which file; an object store's was compared when it was fetched.
            if isinstance(source, FileStore):
                source.verify(record)
            raise


def _with_signatures(target: Store, there: Record, record: Record) -> Record:
    """The record that is there, with the signatures that its original got since it was copied."""
    missing = tuple(one for one in record.signed if one not in there.signed)
    if not missing or statement(there) != statement(record):
        return there
    return target.sign(there.model, there.version, lambda found: with_signed(found, (*found.signed, *missing)))


@contextmanager
def _as_folder(source: Store, record: Record, progress: Progress) -> Iterator[Path]:
    """The version's files on a disk of this machine; an object store's are fetched, compared, and removed again."""
    if isinstance(source, FileStore):
        yield source.version_path(record.model, record.version)
        return
    from tfsdeploy.store.cache import Cache
    from tfsdeploy.store.fetch import Fetcher
    from tfsdeploy.store.objects import ObjectStore

    assert isinstance(source, ObjectStore)
    with temporary_folder("tfsdeploy-mirror-") as folder:
        fetcher = Fetcher(source, Cache(folder))
        try:
            fetcher.bring(record.model, record.version, record.digest, progress)
        except OSError as error:
            hint = "TMPDIR names a folder with room for one version"
            raise TfsdeployError(f"no copy could be kept: {error.strerror}", where=str(folder), hint=hint) from error
        yield fetcher.local.version_path(record.model, record.version)

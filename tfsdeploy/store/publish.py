"""Publish and adopt versions on a file system: the rename of a complete, recorded folder is the commit."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from tfsdeploy.errors import Busy
from tfsdeploy.files import sync_folder
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store import durable
from tfsdeploy.store.record import File, Record, digest_of, encode, read
from tfsdeploy.store.said import NOTHING, Said
from tfsdeploy.store.savedmodel import SAVED_MODEL, TFLITE, inspect
from tfsdeploy.store.several import Count, several
from tfsdeploy.store.source import (
    ATTEMPTS,
    check_no_alias,
    check_number,
    disk,
    look_at,
    new_record,
    next_number,
    same_or_busy,
)
from tfsdeploy.store.staging import PREFIX, staging, sweep, tidy
from tfsdeploy.store.tree import Progress, hash_file, silent, size_of


def publish(
    folder: Path,
    model_name: str,
    source: Path,
    version: int | None,
    progress: Progress = silent,
    *,
    above: int = 0,
    said: Said = NOTHING,
) -> tuple[Record, bool]:
    """Copy a SavedModel into a model's folder as a new version; continues a copy that was interrupted.

    Args:
        folder: the model's folder in the store; made if it is not there.
        model_name: for the record.
        source: the SavedModel's folder.
        version: its number, 1 to `MAX_VERSION`; None for the next free one.
        progress: hears how many bytes are copied.
        above: the next free number is higher than this: numbers that a fleet remembers are not given anew.
        said: what stands in its record beside the files.

    Returns:
        The commit record, and whether it was there before with the same bytes.

    Raises:
        UsageError: the source is no complete SavedModel, or the number is none.
        Busy: the number is taken by other bytes, or another publisher took it meanwhile; says who.
        TfsdeployError: the disk is full or refuses, or the source changed; nothing of it stays. What stays of an
            interruption helps the next attempt only.
    """
    if version is not None:
        check_number(version)
    inspect(source)
    with disk(source, "nothing was published"):
        looked_at = look_at(source)
        files = looked_at.files
        if version is not None and os.path.lexists(folder / str(version)):
            # No copy is needed to say no, or that there is nothing to do.
            hashed = looked_at.hashed(progress)
            looked_at.check_unchanged()
            return _same_or_busy(folder, model_name, version, digest_of(hashed)), True
        if version is not None:
            check_no_alias(os.listdir(folder) if folder.is_dir() else [], version, str(folder))
    with disk(folder, "nothing was published"):
        durable.make_folders(folder)
        with staging(folder, {name: path.stat().st_size for name, path in files.items()}) as place:
            # Not before: of what was interrupted, this takes what it can use.
            sweep(folder)
            copied = _copy(files, place, progress)
            looked_at.check_unchanged()
            return _commit(folder, model_name, place, copied, version, above, said), False


def adopt(
    folder: Path, model_name: str, version: int, progress: Progress = silent, *, said: Said = NOTHING
) -> tuple[Record, bool]:
    """Write the commit record of a version that another tool put there.

    Args:
        folder: the model's folder in the store.
        model_name: for the record.
        version: its number.
        progress: hears how many bytes are read.
        said: what stands in its record beside the files.

    Returns:
        The record, and whether there was one already.

    Raises:
        UsageError: no such version, or it is no complete SavedModel.
        TfsdeployError: it changed meanwhile, or the disk refuses.
    """
    check_number(version)
    path = folder / str(version)
    existing = path / RECORD_FILE
    with disk(path, "nothing was adopted"):
        if existing.is_file():
            return read(path, model_name, version), True
        info = inspect(path)
        looked_at = look_at(path)
        record = new_record(model_name, version, looked_at.hashed(progress), info, said)
        looked_at.check_unchanged()
        temporary = folder / f"{PREFIX}record-{uuid.uuid4().hex}"
        try:
            durable.write(temporary, encode(record).encode())
            # A link, not a rename: it never replaces a record that somebody else wrote meanwhile.
            os.link(temporary, existing)
        except FileExistsError:
            return read(path, model_name, version), True
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path)
    return record, False


def _commit(
    folder: Path,
    model_name: str,
    place: Path,
    files: tuple[File, ...],
    version: int | None,
    above: int,
    said: Said,
) -> Record:
    """Give the staged version its record and its number."""
    info = inspect(place)
    for _ in range(ATTEMPTS):
        number = version or next_number(os.listdir(folder), above, str(folder))
        record = new_record(model_name, number, files, info, said)
        durable.write(place / RECORD_FILE, encode(record).encode())
        durable.sync_folders(place)
        if durable.rename_new(place, folder / str(number)):
            with disk(folder, f"version {number} is published, but may be lost if the machine stops now"):
                sync_folder(folder)
                sync_folder(folder.parent)
            return record
        if version is not None:
            there = _same_or_busy(folder, model_name, version, record.digest)
            raise Busy(
                f"this number was taken meanwhile: {there.by} published the same bytes at {there.committed}",
                where=f"{model_name}/{version}",
                hint="there is nothing left to do",
            )
    raise Busy(f"{ATTEMPTS} numbers in a row were taken by others while this version was published", where=model_name)


def _same_or_busy(folder: Path, model_name: str, version: int, digest: str) -> Record:
    """The record of a number that is taken, if it has these bytes.

    Raises:
        Busy: it has others, or none that anybody vouches for.
    """
    path = folder / str(version)
    where = f"{model_name}/{version}"
    try:
        there = read(path, model_name, version)
    except (FileNotFoundError, NotADirectoryError):
        if (path / SAVED_MODEL).exists() or (path / TFLITE).exists():
            hint = f"`tfsdeploy adopt {model_name} {version}` gives it a record; or leave out --version"
            raise Busy("this number is taken by a version without a commit record", where=where, hint=hint) from None
        raise Busy(
            "this number is taken by something that is no version", where=where, hint=f"look at {path} and remove it"
        ) from None
    return same_or_busy(there, digest)


def _copy(files: Mapping[str, Path], place: Path, progress: Progress) -> tuple[File, ...]:
    """Copy and hash what is not there yet; owners and modes of the source do not come along."""
    place.chmod(0o755)
    tidy(place, files.keys())
    for name in files:
        durable.make_folders((place / name).parent)

    def copied(item: tuple[str, Path], count: Count) -> File:
        name, path = item
        if (kept := _kept(name, path, place / name, count)) is not None:
            return kept
        with durable.new_file(place / name) as copy:
            return File(name, *hash_file(path, copy.write, lambda piece: count(len(piece))))

    return tuple(sorted(several(copied, files.items(), size_of(files), progress)))


def _kept(name: str, path: Path, there: Path, count: Count) -> File | None:
    """The file that an interrupted publisher has copied, if it has the bytes of the source; gone if it has not."""
    if not there.exists():
        return None
    if there.stat().st_size == path.stat().st_size:
        durable.settle(there)
        file, source = (File(name, *hash_file(of, lambda _: count(0))) for of in (there, path))
        if file == source:
            count(file.size)
            return file
    # Not written over: what somebody had open stays another file.
    there.unlink()
    return None

"""Publish and adopt versions on a file system: the rename of a complete, recorded folder is the commit."""

from __future__ import annotations

import errno
import getpass
import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import MAX_VERSION, RECORD_FILE, parse_version
from tfsdeploy.store import staging
from tfsdeploy.store.record import File, Record, decode, digest_of, encode
from tfsdeploy.store.savedmodel import inspect
from tfsdeploy.store.verify import CHUNK, Progress

ATTEMPTS = 20


def publish(
    folder: Path, model_name: str, source: Path, version: int | None, progress: Progress = lambda done, total: None
) -> tuple[Record, bool]:
    """Copy a SavedModel into a model's folder as a new version.

    Args:
        folder: the model's folder in the store; made if it is not there.
        model_name: for the record.
        source: the SavedModel's folder.
        version: its number; None for the next free one.
        progress: hears how many bytes are copied.

    Returns:
        The commit record, and whether it was there already with the same bytes.

    Raises:
        UsageError: the source is no complete SavedModel.
        Busy: the number is taken by other bytes; says by whom.
        TfsdeployError: the disk is full or refuses; nothing of it stays.
    """
    info = inspect(source)
    sources = _sources(source)
    with _disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        staging.sweep(folder)
        place = staging.make(folder)
        try:
            files = _copy(sources, place, progress)
            inspect(place)
            for _ in range(ATTEMPTS):
                number = version or _next_version(folder)
                record = _record(model_name, number, files, info.tensorflow)
                taken = _commit(place, folder / str(number), record)
                if taken is None:
                    return record, False
                if version is not None:
                    return _same_or_busy(folder, record), True
        finally:
            shutil.rmtree(place, ignore_errors=True)
    raise Busy(f"{ATTEMPTS} numbers in a row were taken by others while this version was published", where=model_name)


def adopt(
    folder: Path, model_name: str, version: int, progress: Progress = lambda done, total: None
) -> tuple[Record, bool]:
    """Write the commit record of a version that another tool put there.

    Returns:
        The record, and whether there was one already.

    Raises:
        UsageError: no such version, or it is no complete SavedModel.
    """
    path = folder / str(version)
    existing = path / RECORD_FILE
    if existing.is_file():
        return decode(existing.read_bytes(), str(existing)), True
    info = inspect(path)
    with _disk(folder):
        files = tuple(_hashed(file, name, progress) for name, file in sorted(_sources(path).items()))
        record = _record(model_name, version, files, info.tensorflow)
        temporary = folder / f"{staging.PREFIX}record-{os.getpid()}"
        try:
            _write(temporary, encode(record).encode())
            try:
                # A link, not a rename: it never replaces a record that somebody else wrote meanwhile.
                os.link(temporary, existing)
            except FileExistsError:
                return decode(existing.read_bytes(), str(existing)), True
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path)
    return record, False


def _commit(place: Path, target: Path, record: Record) -> str | None:
    """Make the staged version exist; returns who has the number if somebody does."""
    _write(place / RECORD_FILE, encode(record).encode())
    owner = place / staging.OWNER
    kept = owner.read_bytes()
    for inner in [place, *(entry for entry in place.rglob("*") if entry.is_dir())]:
        _sync(inner)
    if target.is_dir() and not any(target.iterdir()):
        return "an empty folder"
    owner.unlink()
    try:
        # rename(2), which this is, onto a folder that is not empty fails, so of two publishers exactly one succeeds.
        place.rename(target)
    except OSError as error:
        owner.write_bytes(kept)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return "somebody"
        raise
    _sync(target.parent)
    return None


def _same_or_busy(folder: Path, record: Record) -> Record:
    path = folder / str(record.version) / RECORD_FILE
    where = f"{record.model}/{record.version}"
    try:
        there = decode(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise Busy(
            "this number is taken by a folder without a commit record",
            where=where,
            hint=f"`tfsdeploy adopt {record.model} {record.version}` gives it one, or choose another number",
        ) from None
    if there.digest == record.digest:
        return there
    raise Busy(
        f"this number is taken: {there.by} published other bytes at {there.committed}",
        where=where,
        hint="versions never change; leave out --version to take the next number",
    )


def _sources(source: Path) -> dict[str, Path]:
    """Every file below ``source`` by its path; links are followed only inside."""
    root = source.resolve()
    found: dict[str, Path] = {}
    for base, folders, names in os.walk(source):
        for name in [*folders, *names]:
            path = Path(base) / name
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise UsageError(
                    f"{path} is a link that leaves the model", where=str(source), hint="copy what it points to"
                )
        for name in names:
            path = Path(base) / name
            relative = path.relative_to(source).as_posix()
            if relative == RECORD_FILE:
                continue
            if not stat.S_ISREG(path.stat().st_mode):
                raise UsageError(f"{path} is neither a file nor a folder", where=str(source))
            found[relative] = path
    return found


def _copy(sources: dict[str, Path], place: Path, progress: Progress) -> tuple[File, ...]:
    total = sum(path.stat().st_size for path in sources.values())
    done = 0
    files = []
    for name, path in sorted(sources.items()):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        before, digest = path.stat(), hashlib.sha256()
        with path.open("rb") as source, target.open("wb") as copy:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                copy.write(chunk)
                done += len(chunk)
                progress(done, total)
            copy.flush()
            os.fsync(copy.fileno())
        target.chmod(0o644)
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise TfsdeployError(
                f"{path} changed while it was copied; nothing was published", hint="publish when it is complete"
            )
        files.append(File(name, target.stat().st_size, digest.hexdigest()))
    return tuple(files)


def _hashed(file: Path, name: str, progress: Progress) -> File:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            progress(size, file.stat().st_size)
    return File(name, size, digest.hexdigest())


def _record(model_name: str, version: int, files: tuple[File, ...], tensorflow: str | None) -> Record:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(
        model_name, version, digest_of(files), files, now, f"{getpass.getuser()}@{socket.gethostname()}", tensorflow
    )


def _next_version(folder: Path) -> int:
    numbers = [number for entry in os.scandir(folder) if (number := parse_version(entry.name))]
    highest = max(numbers, default=0)
    if highest >= MAX_VERSION:
        raise UsageError("the highest version number there is is taken", where=str(folder))
    return highest + 1


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = str(error.filename or folder)
        raise TfsdeployError(f"the store refuses: {error.strerror}; nothing was published", where=where) from error

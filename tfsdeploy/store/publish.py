"""Publish and adopt versions on a file system: the rename of a complete, recorded folder is the commit."""

from __future__ import annotations

import getpass
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.files import sync_folder
from tfsdeploy.names import MAX_VERSION, RECORD_FILE
from tfsdeploy.store import durable
from tfsdeploy.store.record import File, Record, digest_of, encode, read
from tfsdeploy.store.savedmodel import inspect
from tfsdeploy.store.staging import PREFIX, staging, sweep
from tfsdeploy.store.tree import Progress, counter, files_of, fingerprint, hash_file, silent, size_of

ATTEMPTS = 20
"""How many numbers in a row may be taken by others before a publisher without a number of its own gives up."""

# absl::SimpleAtoi, with which file_system_storage_path_source.cc reads names; leading zeros included.
_NUMBER = re.compile(r"\+?[0-9]{1,18}\Z")


@dataclass(frozen=True, slots=True)
class _Source:
    """A SavedModel that is about to be published, as it was when it was looked at."""

    path: Path
    files: Mapping[str, Path]
    fingerprint: str

    def check_unchanged(self) -> None:
        if fingerprint(files_of(self.path)) != self.fingerprint:
            raise TfsdeployError(
                "it changed while it was read; nothing was published",
                where=str(self.path),
                hint="publish when it is complete",
            )


def publish(
    folder: Path, model_name: str, source: Path, version: int | None, progress: Progress = silent, *, above: int = 0
) -> tuple[Record, bool]:
    """Copy a SavedModel into a model's folder as a new version.

    Args:
        folder: the model's folder in the store; made if it is not there.
        model_name: for the record.
        source: the SavedModel's folder.
        version: its number, 1 to `MAX_VERSION`; None for the next free one.
        progress: hears how many bytes are copied.
        above: the next free number is higher than this: numbers that a fleet remembers are not given anew.

    Returns:
        The commit record, and whether it was there before with the same bytes.

    Raises:
        UsageError: the source is no complete SavedModel, or the number is none.
        Busy: the number is taken by other bytes, or another publisher took it meanwhile; says who.
        TfsdeployError: the disk is full or refuses, or the source changed; nothing of it stays.
    """
    if version is not None:
        _check_number(version)
    inspect(source)
    with _disk(source, "nothing was published"):
        files = files_of(source)
        looked_at = _Source(source, files, fingerprint(files))
        if version is not None and os.path.lexists(folder / str(version)):
            # No copy is needed to say no, or that there is nothing to do.
            hashed = _hashed(files, progress)
            looked_at.check_unchanged()
            return _same_or_busy(folder, model_name, version, digest_of(hashed)), True
        if version is not None:
            _check_no_alias(folder, version)
    with _disk(folder, "nothing was published"):
        durable.make_folders(folder)
        sweep(folder)
        with staging(folder) as place:
            copied = _copy(files, place, progress)
            looked_at.check_unchanged()
            return _commit(folder, model_name, place, copied, version, above), False


def adopt(folder: Path, model_name: str, version: int, progress: Progress = silent) -> tuple[Record, bool]:
    """Write the commit record of a version that another tool put there.

    Args:
        folder: the model's folder in the store.
        model_name: for the record.
        version: its number.
        progress: hears how many bytes are read.

    Returns:
        The record, and whether there was one already.

    Raises:
        UsageError: no such version, or it is no complete SavedModel.
        TfsdeployError: it changed meanwhile, or the disk refuses.
    """
    _check_number(version)
    path = folder / str(version)
    existing = path / RECORD_FILE
    with _disk(path, "nothing was adopted"):
        if existing.is_file():
            return read(path, model_name, version), True
        info = inspect(path)
        files = files_of(path)
        looked_at = _Source(path, files, fingerprint(files))
        record = _record(model_name, version, _hashed(files, progress), info.tensorflow)
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
    folder: Path, model_name: str, place: Path, files: tuple[File, ...], version: int | None, above: int
) -> Record:
    """Give the staged version its record and its number."""
    tensorflow = inspect(place).tensorflow
    for _ in range(ATTEMPTS):
        number = version or _next_version(folder, above)
        record = _record(model_name, number, files, tensorflow)
        durable.write(place / RECORD_FILE, encode(record).encode())
        durable.sync_folders(place)
        if durable.rename_new(place, folder / str(number)):
            with _disk(folder, f"version {number} is published, but may be lost if the machine stops now"):
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
        if (path / "saved_model.pb").exists():
            hint = f"`tfsdeploy adopt {model_name} {version}` gives it a record; or leave out --version"
            raise Busy("this number is taken by a version without a commit record", where=where, hint=hint) from None
        raise Busy(
            "this number is taken by something that is no version", where=where, hint=f"look at {path} and remove it"
        ) from None
    if there.digest == digest:
        return there
    raise Busy(
        f"this number is taken: {there.by} published other bytes at {there.committed}",
        where=where,
        hint="versions never change; leave out --version to take the next number",
    )


def _copy(files: Mapping[str, Path], place: Path, progress: Progress) -> tuple[File, ...]:
    """Copy and hash; owners and modes of the source do not come along."""
    place.chmod(0o755)
    count, copied = counter(progress, size_of(files)), []
    for name, path in files.items():
        durable.make_folders((place / name).parent)
        with durable.new_file(place / name) as copy:
            copied.append(File(name, *hash_file(path, copy.write, count)))
    return tuple(sorted(copied))


def _hashed(files: Mapping[str, Path], progress: Progress) -> tuple[File, ...]:
    count = counter(progress, size_of(files))
    return tuple(sorted(File(name, *hash_file(path, count)) for name, path in files.items()))


def _record(model_name: str, version: int, files: tuple[File, ...], tensorflow: str | None) -> Record:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(model_name, version, digest_of(files), files, now, f"{_user()}@{socket.gethostname()}", tensorflow)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return str(os.getuid())


def _next_version(folder: Path, above: int) -> int:
    numbers = (_as_a_number(name) for name in os.listdir(folder))
    highest = max((number for number in numbers if number), default=0)
    highest = max(highest, above)
    if highest >= MAX_VERSION:
        raise UsageError("the highest version number there is is taken", where=str(folder))
    return highest + 1


def _check_no_alias(folder: Path, version: int) -> None:
    """Two names of one number: of ``7`` and ``007`` TF Serving serves either."""
    names = os.listdir(folder) if folder.is_dir() else []
    for name in names:
        if name != str(version) and _as_a_number(name) == version:
            raise Busy(f"this number is taken: TF Serving reads the name {name!r} as {version}", where=str(folder))


def _as_a_number(name: str) -> int | None:
    """The version that TF Serving takes a name for: it accepts more spellings than `parse_version`."""
    return int(name) if _NUMBER.match(name) else None


def _check_number(version: int) -> None:
    if not 1 <= version <= MAX_VERSION:
        raise UsageError(f"{version} is no version number", hint=f"1 to {MAX_VERSION}")


@contextmanager
def _disk(place: Path, outcome: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = str(error.filename or place)
        raise TfsdeployError(f"{error.strerror or error}; {outcome}", where=where) from error

"""What publishing is on every kind of store: a source that holds still, a number that nobody has, a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import MAX_VERSION
from tfsdeploy.processes import who
from tfsdeploy.store.record import File, Record, digest_of
from tfsdeploy.store.said import Said
from tfsdeploy.store.savedmodel import SavedModelInfo, signatures_to_plain
from tfsdeploy.store.several import Count, several
from tfsdeploy.store.tree import Progress, files_of, fingerprint, hash_file, size_of
from tfsdeploy.store.verify import Damaged

ATTEMPTS = 20
"""How many numbers in a row may be taken by others before a publisher without a number of its own gives up."""

# absl::SimpleAtoi, with which file_system_storage_path_source.cc reads names; leading zeros included.
_NUMBER = re.compile(r"\+?[0-9]{1,18}\Z")


@dataclass(frozen=True, slots=True)
class Source:
    """A SavedModel that is about to be published, as it was when it was looked at.

    Attributes:
        path: its folder.
        files: relative path with ``/`` -> where it is.
        fingerprint: see `tfsdeploy.store.tree.fingerprint`.
    """

    path: Path
    files: Mapping[str, Path]
    fingerprint: str

    def hashed(self, progress: Progress) -> tuple[File, ...]:
        """Every file with its SHA-256, sorted.

        Raises:
            OSError: one cannot be read.
        """

        def hashed(item: tuple[str, Path], count: Count) -> File:
            name, path = item
            return File(name, *hash_file(path, lambda piece: count(len(piece))))

        return tuple(sorted(several(hashed, self.files.items(), size_of(self.files), progress)))

    def check_unchanged(self) -> None:
        """Refuse what was touched since.

        Raises:
            TfsdeployError: it was.
            OSError: it cannot be looked at.
        """
        if fingerprint(files_of(self.path)) != self.fingerprint:
            raise TfsdeployError(
                "it changed while it was read; nothing was published",
                where=str(self.path),
                hint="publish when it is complete",
            )


def look_at(path: Path) -> Source:
    """A folder's files as they are now; raises like `tfsdeploy.store.tree.files_of`."""
    files = files_of(path)
    return Source(path, files, fingerprint(files))


def check_number(version: int) -> None:
    """Refuse what is no version number."""
    if not 1 <= version <= MAX_VERSION:
        raise UsageError(f"{version} is no version number", hint=f"1 to {MAX_VERSION}")


def next_number(names: Iterable[str], above: int, where: str) -> int:
    """The number after the highest that any of the names, or ``above``, is.

    Args:
        names: of everything in the model's folder.
        above: the highest that is remembered elsewhere.
        where: the model's folder, for messages.
    """
    highest = max((number for name in names if (number := _as_a_number(name))), default=0)
    highest = max(highest, above)
    if highest >= MAX_VERSION:
        raise UsageError("the highest version number there is is taken", where=where)
    return highest + 1


def check_no_alias(names: Iterable[str], version: int, where: str) -> None:
    """Refuse two names of one number: of ``7`` and ``007`` TF Serving serves either."""
    for name in names:
        if name != str(version) and _as_a_number(name) == version:
            raise Busy(f"this number is taken: TF Serving reads the name {name!r} as {version}", where=where)


def same_or_busy(there: Record, digest: str) -> Record:
    """The record of a number that is taken, if it has these bytes.

    Raises:
        Busy: it has others.
    """
    if there.digest == digest:
        return there
    raise Busy(
        f"this number is taken: {there.by} published other bytes at {there.committed}",
        where=f"{there.model}/{there.version}",
        hint="versions never change; leave out --version to take the next number",
    )


def new_record(model_name: str, version: int, files: tuple[File, ...], info: SavedModelInfo, said: Said) -> Record:
    """The record of what is published now, by whoever runs this; or that of the version of which this is a copy.

    Raises:
        Damaged: these are not the bytes that ``said.like`` is about.
        TfsdeployError: these are not the bytes that were checked.
    """
    if (like := said.like) is not None:
        if (like.model, like.version, like.digest) != (model_name, version, digest_of(files)):
            raise Damaged(
                "the bytes are not those of the commit record; nothing was published",
                where=f"{like.model}/{like.version}",
                hint="`tfsdeploy verify` says which file differs",
            )
        return like
    digest = digest_of(files)
    if said.digest not in (None, digest):
        raise TfsdeployError(
            "it is not what was checked: it changed since; nothing was published",
            where=f"{model_name}/{version}",
            hint="publish when it is complete",
        )
    record = Record(
        model_name,
        version,
        digest,
        files,
        now(),
        who(),
        info.tensorflow,
        signatures_to_plain(info.signatures),
        said.check,
    )
    return said.sign(record)


def now() -> str:
    """This moment, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def disk(place: Path, outcome: str) -> Iterator[None]:
    """Errors of the file system as one line.

    Args:
        place: what is worked on.
        outcome: what then has come of it.
    """
    try:
        yield
    except OSError as error:
        where = str(error.filename or place)
        raise TfsdeployError(f"{error.strerror or error}; {outcome}", where=where) from error


def _as_a_number(name: str) -> int | None:
    """The version that TF Serving takes a name for: it accepts more spellings than `parse_version`."""
    return int(name) if _NUMBER.match(name) else None

"""The files of a model or version: which count, what they hash to, and whether any was touched since."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tfsdeploy.errors import UsageError
from tfsdeploy.names import RECORD_FILE

CHUNK = 1 << 20

MAX_DEPTH = 32
MAX_ENTRIES = 100_000
"""Folders in one another, and files and folders in all: far more than any SavedModel has."""

Progress = Callable[[int, int], None]
"""Hears ``(bytes done, bytes in all)``."""


def silent(done: int, total: int) -> None:
    """The progress that nobody hears."""


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder but its commit record, in the order of their names.

    Links are followed as long as they stay inside, as TensorFlow follows them.

    Returns:
        relative path with ``/`` -> where it is.

    Raises:
        UsageError: something that cannot be part of a version, such as a link that leaves it, a device, or a name that
            JSON cannot spell.
        OSError: a folder cannot be read.
    """
    root = os.path.realpath(folder)
    found = dict(_walk(Path(root), "", root, (root,), iter(range(MAX_ENTRIES))))
    return {name: folder / name for name in sorted(found) if name != RECORD_FILE}


def _walk(
    folder: Path, prefix: str, root: str, above: tuple[str, ...], left: Iterator[int]
) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            # Links within the folder can make a few of them look like billions.
            if next(left, None) is None:
                raise UsageError(f"it has more than {MAX_ENTRIES:,} files and folders", where=root)
            if not entry.name.isprintable():
                raise _unfit(root, name, "has a name of other than printable characters")
            real = os.path.realpath(entry.path)
            if entry.is_symlink() and not Path(real).is_relative_to(root):
                raise _unfit(root, name, "is a link that leaves the model", "copy what it points to")
            try:
                mode = entry.stat().st_mode
            except FileNotFoundError:
                raise _unfit(root, name, "is a link to nothing, or went away while it was looked at") from None
            if stat.S_ISREG(mode):
                yield name, Path(entry.path)
            elif not stat.S_ISDIR(mode):
                raise _unfit(root, name, "is neither a file nor a folder")
            elif len(above) > MAX_DEPTH:
                raise _unfit(root, name, f"is more than {MAX_DEPTH} folders deep")
            elif real in above:
                raise _unfit(root, name, "is a link that leads back to where it is")
            else:
                yield from _walk(Path(entry.path), f"{name}/", root, (*above, real), left)


def _unfit(root: str, name: str, why: str, hint: str = "") -> UsageError:
    shown = name.encode("utf-8", "backslashreplace").decode()
    return UsageError(f"{shown!r} {why}", where=root, hint=hint)


def size_of(files: Mapping[str, Path]) -> int:
    """The bytes of all files together."""
    return sum(path.stat().st_size for path in files.values())


def fingerprint(files: Mapping[str, Path]) -> str:
    """Changes whenever a file is added, written, replaced or removed, without reading any.

    Made of each one's name, size, inode, time of modification, and time of change, which nobody can set back.
    """
    told = hashlib.sha256()
    for name, path in files.items():
        seen = path.stat()
        told.update(f"{name} {seen.st_size} {seen.st_ino} {seen.st_mtime_ns} {seen.st_ctime_ns}\n".encode())
    return told.hexdigest()


def counter(progress: Progress, total: int) -> Callable[[bytes], None]:
    """Adds up the pieces that it hears, and tells how far that is of ``total`` bytes."""
    done = 0

    def hear(piece: bytes) -> None:
        nonlocal done
        done += len(piece)
        progress(done, total)

    return hear


def hash_file(path: Path, *hearers: Callable[[bytes], object]) -> tuple[int, str]:
    """A file's bytes, counted, and its SHA-256 in hex.

    Args:
        path: the file.
        hearers: are given every piece of its content, in order.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            for hear in hearers:
                hear(piece)
    return size, digest.hexdigest()

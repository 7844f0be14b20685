"""Replacing a file, so that every reader sees the old text or the new one, whole; folders that do not outlive us.

The standard library only.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""What a file system answers to a call that it does not know."""


_TEMPORARY: set[Path] = set()


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """An empty folder that is gone afterwards, also where `remove_temporary` has to see to it.

    Args:
        prefix: of its name.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _TEMPORARY.add(folder)
        try:
            yield folder
        finally:
            _TEMPORARY.discard(folder)


def remove_temporary() -> None:
    """Remove what `temporary_folder` made and still has: for a process that ends without unwinding."""
    for folder in tuple(_TEMPORARY):
        shutil.rmtree(folder, ignore_errors=True)


def replace_file(file: Path, text: str, *, lasting: bool = True) -> None:
    """Replace a file by a rename.

    Args:
        file: the file; its folder is there.
        text: what it is to hold, in UTF-8.
        lasting: it is on the disk afterwards and survives a loss of power; otherwise only the end of this process.

    Raises:
        OSError: the disk is full or refuses; the file is as it was.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(draft, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        os.replace(draft, file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    if lasting:
        sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the entries of one folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; they have written its entries when they answer.
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)

"""Writing so that it lasts, and renaming so that nobody is overwritten."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tfsdeploy.files import UNSUPPORTED, sync_folder

# renameat2(2): fail with EEXIST instead of replacing what is there.
_NO_REPLACE = 1
_HERE = -100  # AT_FDCWD

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written, which everybody may read whatever the umask, and which is on the disk afterwards.

    Model servers often read as another user than the one who publishes.
    """
    with path.open("wb") as stream:
        yield stream
        stream.flush()
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())


def settle(path: Path) -> None:
    """Make a file that another process wrote as `new_file` leaves them, and read from the disk, not from memory, next.

    Raises:
        OSError: it could not be written to the disk.
    """
    path.chmod(0o644)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with new_file(path) as stream:
        stream.write(content)


def make_folders(folder: Path) -> None:
    """Make a folder and its parents, where they are missing, so that everybody may read them whatever the umask."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        folder.chmod(0o755)


def sync_folders(folder: Path) -> None:
    """Wait until the entries of a folder, and of all folders in it, are on the disk."""
    for base, _, _ in os.walk(folder):
        sync_folder(Path(base))


def rename_new(source: Path, target: Path) -> bool:
    """Rename a folder that is not empty to a name that nobody has.

    Of two processes that rename to one name at the same time exactly one succeeds, on every file system.

    Returns:
        False if the name is taken, even by an empty folder; then nothing has changed.

    Raises:
        OSError: it cannot be renamed at all.
    """
    refused = _rename_no_replace(source, target)
    if refused in UNSUPPORTED:
        return rename_plainly(source, target)
    if refused in _TAKEN:
        return False
    if refused:
        raise OSError(refused, os.strerror(refused), str(source), None, str(target))
    return True


def rename_plainly(source: Path, target: Path) -> bool:
    """`rename_new` for file systems whose rename knows no flags, such as NFS.

    There rename(2) does it: onto a folder that is not empty it fails. It would replace an empty one; that one is looked
    for first, and who makes one in between loses nothing by it.
    """
    if target.exists():
        return False
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _rename_no_replace(source: Path, target: Path) -> int:
    """The errno, 0 if it was done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return errno.ENOSYS
    done = renameat2(_HERE, os.fsencode(source), _HERE, os.fsencode(target), _NO_REPLACE)
    return 0 if done == 0 else ctypes.get_errno()

"""A mount that can be lost: a folder behind a file system of our own (FUSE), which answers, hangs, is stale, or empty.

For what a real server (`tests.nfs`) cannot be made to do at a given moment: the kernel's way of telling a reader that a
mount hangs or is stale is the same. Read-only; nothing is cached. Needs root, and a kernel with FUSE.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.fuse import INIT, READ_ONLY, FileSystem, attach, detach

State = Literal["well", "hangs", "stale", "empty"]


class Mount(FileSystem):
    """The folder behind it, as it is seen; set ``state`` at any time.

    Attributes:
        read: which process has read which file.
    """

    def __init__(self, behind: Path, device: int) -> None:
        self.state: State = "well"
        self.read: set[tuple[int, str]] = set()
        super().__init__(device)
        self._behind = behind
        self._paths = {1: behind}
        self._nodes = {behind: 1}
        self._changed = threading.Condition()

    def set(self, state: State) -> None:
        """Another state from now on; what hung is answered by it."""
        with self._changed:
            self.state = state
            self._changed.notify_all()

    def body(self, what: int, node: int, words: bytes, process: int) -> bytes:
        """See `FileSystem.body`."""
        with self._changed:
            self._changed.wait_for(lambda: self.state != "hangs" or what == INIT)
        if self.state == "stale" and what != INIT:
            raise OSError(errno.ESTALE, "")
        path = self._paths.get(node, self._behind)
        empty = self.state == "empty"
        match what:
            case 26:  # INIT
                return struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0, 0)
            case 1:  # LOOKUP
                if empty:
                    raise OSError(errno.ENOENT, "")
                child = path / os.fsdecode(words.rstrip(b"\0"))
                attributes = self._attributes(child)
                return struct.pack("<QQQQII", self._node(child), 0, 0, 0, 0, 0) + attributes
            case 3:  # GETATTR
                if empty and path != self._behind:
                    raise OSError(errno.ENOENT, "")
                return struct.pack("<QII", 0, 0, 0) + self._attributes(path)
            case 14 | 27:  # OPEN, OPENDIR
                return struct.pack("<QII", 0, 0, 0)
            case 15:  # READ
                _, offset, size = struct.unpack_from("<QQI", words)
                self.read.add((_process_of(process), path.name))
                with path.open("rb") as stream:
                    stream.seek(offset)
                    return stream.read(size)
            case 28:  # READDIR
                _, offset, size = struct.unpack_from("<QQI", words)
                return self._entries(path, offset, size) if not empty else b""
            case 17:  # STATFS
                return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0)
            case 18 | 25 | 29:  # RELEASE, FLUSH, RELEASEDIR
                return b""
        raise OSError(errno.ENOSYS, "")

    def _node(self, path: Path) -> int:
        node = self._nodes.setdefault(path, len(self._nodes) + 1)
        self._paths[node] = path
        return node

    def _attributes(self, path: Path) -> bytes:
        seen = path.stat()
        times = [divmod(at, 10**9) for at in (seen.st_atime_ns, seen.st_mtime_ns, seen.st_ctime_ns)]
        return struct.pack(
            "<QQQQQQIIIIIIIIII", self._node(path), seen.st_size, -(-seen.st_size // 512), *(at[0] for at in times),
            *(at[1] for at in times), seen.st_mode, seen.st_nlink, seen.st_uid, seen.st_gid, 0, 4096, 0,
        )  # fmt: skip

    def _entries(self, path: Path, offset: int, size: int) -> bytes:
        made = b""
        for number, name in enumerate(sorted(os.listdir(path))[offset:], offset + 1):
            spelled = os.fsencode(name)
            kind = stat.S_IFMT((path / name).stat().st_mode) >> 12
            entry = struct.pack("<QQII", self._node(path / name), number, len(spelled), kind) + spelled
            entry += b"\0" * (-len(entry) % 8)
            if len(made) + len(entry) > size:
                break
            made += entry
        return made


def _process_of(thread: int) -> int:
    try:
        lines = Path(f"/proc/{thread}/status").read_text().splitlines()
    except OSError:
        return 0  # It was killed while it waited.
    return next(int(line.split()[1]) for line in lines if line.startswith("Tgid:"))


@contextmanager
def mounted(behind: Path, at: Path) -> Iterator[Mount]:
    """A folder, seen through a mount until the block ends."""
    device = attach(at, READ_ONLY)
    mount = Mount(behind, device)
    thread = threading.Thread(target=mount.serve, daemon=True)
    thread.start()
    try:
        yield mount
    finally:
        mount.set("stale")
        detach(at)
        thread.join(10)
        os.close(device)

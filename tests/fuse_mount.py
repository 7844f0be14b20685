"""A mount that can be lost: a folder behind a file system of our own (FUSE), which answers, hangs, is stale, or empty.

It stands for NFS, for which there is no client that would run everywhere: the kernel's way of telling a reader that a
mount hangs or is stale is the same. Read-only; nothing is cached. Needs root, and a kernel with FUSE.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

State = Literal["well", "hangs", "stale", "empty"]

_HEADER = struct.Struct("<IIQQIIIHH")  # length, what is asked, number, node, user, group, process
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 14, 15, 17, 18
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _FORGET_SOME = 25, 26, 27, 28, 29, 36, 42
_UNANSWERED = (_FORGET, _INTERRUPT, _FORGET_SOME)
_FLAGS = 1 | 2 | 4  # read-only, no programs of other users, no devices
_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def works() -> bool:
    """Whether this machine can mount."""
    return os.geteuid() == 0 and Path("/dev/fuse").exists()


class Mount:
    """The folder behind it, as it is seen; set ``state`` at any time.

    Attributes:
        read: which process has read which file.
    """

    def __init__(self, behind: Path, device: int) -> None:
        self.state: State = "well"
        self.read: set[tuple[int, str]] = set()
        self._behind, self._device = behind, device
        self._paths = {1: behind}
        self._nodes = {behind: 1}
        self._changed = threading.Condition()

    def set(self, state: State) -> None:
        """Another state from now on; what hung is answered by it."""
        with self._changed:
            self.state = state
            self._changed.notify_all()

    def serve(self) -> None:
        """Answer until the mount is gone."""
        while True:
            try:
                request = os.read(self._device, 1 << 20)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return
            threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def _answer(self, request: bytes) -> None:
        _, what, number, node, _, _, process, _, _ = _HEADER.unpack_from(request)
        if what in _UNANSWERED:
            return
        with self._changed:
            self._changed.wait_for(lambda: self.state != "hangs" or what == _INIT)
        code, body = 0, b""
        try:
            if self.state == "stale" and what != _INIT:
                raise OSError(errno.ESTALE, "")
            body = self._body(what, self._paths.get(node, self._behind), request[_HEADER.size :], process)
        except OSError as error:
            code = error.errno or errno.EIO
        try:
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), -code, number) + body)
        except OSError:
            return  # Whoever asked is gone, or the mount is.

    def _body(self, what: int, path: Path, words: bytes, process: int) -> bytes:
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
    device = os.open("/dev/fuse", os.O_RDWR)
    mount = Mount(behind, device)
    words = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if _libc.mount(b"test", os.fsencode(at), b"fuse", _FLAGS, words.encode()) != 0:
        os.close(device)
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(at))
    thread = threading.Thread(target=mount.serve, daemon=True)
    thread.start()
    try:
        yield mount
    finally:
        mount.set("stale")
        _libc.umount2(os.fsencode(at), _DETACH)
        thread.join(10)
        os.close(device)

"""A mount of NFS, for a kernel that has FUSE and no client of NFS: `python -m tests.nfs.mount PORT EXPORT FOLDER SOFT`.

It behaves as Linux' own client does where a store can tell: names are remembered for a while, also those that were not
there; an opened file that is removed is renamed to ``.nfs…``; flock(2) locks the file at the server; rename knows no
flags; who waits for a server that is away can be killed, and is interrupted by nothing else. Unlike it, this one does
not tell the server which files are open, and takes no lock anew from a server that was started again.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuse import INIT, FileSystem, attach, detach
from tests.nfs.client import LARGEST, READ, WRITE, Attributes, Client, Entry, Held

REMEMBERED_SECONDS = 1
"""How long a name counts as what it was; Linux' own client says 30 at first."""

RENEW_SECONDS = 5.0
WAIT_SECONDS = 0.05

_KINDS = {1: 0o100000, 2: 0o040000, 5: 0o120000}
_FLOCK = 1 << 10
_SHARED, _UNLOCKED = 0, 2  # F_RDLCK, F_UNLCK


@dataclass(eq=False)
class _Node:
    """A file that the kernel knows, and where it was found."""

    handle: bytes
    folder: bytes
    name: bytes
    opened: int = 0
    doomed: bool = False


@dataclass(eq=False)
class _Opened:
    """An opened file, or the names in an opened folder."""

    node: _Node
    access: int
    entries: list[Entry] = field(default_factory=list)
    lock: Held | None = None


class NfsMount(FileSystem):
    """The kernel's questions, asked of a server.

    Args:
        device: see `FileSystem`.
        client: of the server.
        root: the handle of what is mounted.
    """

    def __init__(self, device: int, client: Client, root: bytes) -> None:
        super().__init__(device)
        self._client = client
        self._numbers = itertools.count(2)
        self._nodes = {1: _Node(root, b"", b"")}
        self._known = {root: 1}
        # What was not in a folder, and until when that counts; to list or change the folder shows what is so now.
        self._absent: dict[bytes, dict[bytes, float]] = {}
        self._opened: dict[int, _Opened] = {}
        self._lock = threading.Lock()

    def body(self, what: int, node: int, words: bytes, process: int) -> bytes:
        """See `FileSystem.body`."""
        if what == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, LARGEST, _FLOCK | 1 << 5, 12, 9, LARGEST, 1, 0, 0, 0)
        at = self._nodes[node]
        match what:
            case 1 | 3 | 4 | 5 | 17 | 34:
                return self._look(what, at, words)
            case 6 | 8 | 9 | 10 | 11 | 12 | 13:
                return self._change_names(what, at, words)
            case 14 | 15 | 16 | 20 | 25 | 27 | 28 | 30 | 18 | 29 | 32 | 33 | 35:
                return self._use(what, at, words)
        raise OSError(errno.ENOSYS, "")

    def renew(self) -> None:
        """Keep the locks."""
        while True:
            time.sleep(RENEW_SECONDS)
            with suppress(OSError):
                self._client.renew()

    def _look(self, what: int, at: _Node, words: bytes) -> bytes:
        match what:
            case 1:  # LOOKUP
                return self._lookup(at.handle, words.rstrip(b"\0"))
            case 3:  # GETATTR
                return struct.pack("<QII", 0, 0, 0) + _attributes(self._client.attributes(at.handle))
            case 4:  # SETATTR
                return struct.pack("<QII", 0, 0, 0) + _attributes(self._set(at, words))
            case 5:  # READLINK
                return self._client.target(at.handle)
            case 17:  # STATFS
                ours, free, there = (size // 4096 for size in self._client.space(at.handle))
                return struct.pack("<QQQQQIIII24x", there, free, ours, 1 << 20, 1 << 19, 4096, 255, 4096, 0)
        return b""  # ACCESS: it is root's

    def _lookup(self, folder: bytes, name: bytes) -> bytes:
        if self._absent.get(folder, {}).get(name, 0.0) > time.monotonic():
            raise FileNotFoundError(errno.ENOENT, "")
        try:
            return self._entry(folder, name, *self._client.lookup(folder, name))
        except FileNotFoundError:
            self._absent.setdefault(folder, {})[name] = time.monotonic() + REMEMBERED_SECONDS
            raise

    def _set(self, at: _Node, words: bytes) -> Attributes:
        which, _, _, size, _, *times, mode, _, user, group, _ = struct.unpack_from("<IIQQQQQQIIIIIIII", words)
        # Seconds of access, change and status, then their nanoseconds; either may be told to be now.
        asked: list[int | None] = []
        for place, given, now in ((0, 16, 128), (1, 32, 256)):
            at_time = time.time_ns() if which & now else times[place] * 10**9 + times[place + 3]
            asked.append(at_time if which & given else None)
        return self._client.change(
            at.handle,
            size=size if which & 8 else None,
            mode=mode & 0o7777 if which & 1 else None,
            owner=(user if which & 2 else None, group if which & 4 else None),
            times=(asked[0], asked[1]),
        )

    def _change_names(self, what: int, at: _Node, words: bytes) -> bytes:
        client, here = self._client, at.handle
        self._absent.pop(here, None)
        match what:
            case 6:  # SYMLINK
                name, target = words.split(b"\0")[:2]
                return self._entry(here, name, *client.make_symlink(here, name, target))
            case 8:  # MKNOD
                mode, name = struct.unpack_from("<I", words)[0], words[16:].rstrip(b"\0")
                return self._entry(here, name, *client.create(here, name, mode & 0o7777, new=True))
            case 9:  # MKDIR
                mode, name = struct.unpack_from("<I", words)[0], words[8:].rstrip(b"\0")
                return self._entry(here, name, *client.make_folder(here, name, mode & 0o7777))
            case 10:  # UNLINK
                self._unlink(here, words.rstrip(b"\0"))
            case 11:  # RMDIR
                client.remove(here, words.rstrip(b"\0"))
            case 12:  # RENAME
                to = self._nodes[struct.unpack_from("<Q", words)[0]].handle
                name, new = words[8:].split(b"\0")[:2]
                self._absent.pop(to, None)
                client.rename(here, name, to, new)
                for node in self._nodes.values():
                    if (node.folder, node.name) == (here, name):
                        node.folder, node.name = to, new
            case 13:  # LINK
                of = self._nodes[struct.unpack_from("<Q", words)[0]].handle
                name = words[8:].rstrip(b"\0")
                client.link(of, here, name)
                return self._entry(here, name, of, client.attributes(of))
        return b""

    def _unlink(self, folder: bytes, name: bytes) -> None:
        handle = self._client.lookup(folder, name)[0]
        node = self._nodes.get(self._known.get(handle, 0))
        if node is None or not node.opened:
            self._client.remove(folder, name)
            return
        if node.doomed:
            raise OSError(errno.EBUSY, "")
        hidden = f".nfs{next(self._numbers):016x}".encode()
        self._client.rename(folder, name, folder, hidden)
        node.folder, node.name, node.doomed = folder, hidden, True

    def _use(self, what: int, at: _Node, words: bytes) -> bytes:
        client = self._client
        if what == 35:  # CREATE
            flags, mode = struct.unpack_from("<II", words)
            name = words[16:].rstrip(b"\0")
            self._absent.pop(at.handle, None)
            handle, found = client.create(at.handle, name, mode & 0o7777, new=bool(flags & os.O_EXCL))
            entry = self._entry(at.handle, name, handle, found)
            return entry + self._open(self._nodes[self._known[handle]], flags)
        if what == 14:  # OPEN
            client.attributes(at.handle)  # Whether it is there at all.
            return self._open(at, struct.unpack_from("<I", words)[0])
        if what == 27:  # OPENDIR
            self._absent.pop(at.handle, None)
            return self._open(at, 0, client.entries(at.handle))
        number, offset, size = struct.unpack_from("<QQI", words.ljust(20, b"\0"))
        opened = self._opened[number]
        match what:
            case 15:  # READ
                return client.read(at.handle, offset, size)
            case 16:  # WRITE
                return struct.pack("<II", client.write(at.handle, offset, words[40 : 40 + size]), 0)
            case 20 | 25:  # FSYNC, FLUSH
                if opened.access & WRITE:
                    client.commit(at.handle)
            case 28:  # READDIR
                return _listing(opened.entries, offset, size)
            case 18 | 29:  # RELEASE, RELEASEDIR
                self._release(number)
            case 32 | 33:  # SETLK, SETLKW
                self._flock(opened, *struct.unpack_from("<I", words, 32), wait=what == 33)
        return b""

    def _open(self, node: _Node, flags: int, entries: list[Entry] | None = None) -> bytes:
        access = {os.O_RDONLY: READ, os.O_WRONLY: WRITE}.get(flags & os.O_ACCMODE, READ | WRITE)
        with self._lock:
            node.opened += 1
            number = next(self._numbers)
            self._opened[number] = _Opened(node, access, entries or [])
        return struct.pack("<QII", number, 0, 0)

    def _release(self, number: int) -> None:
        opened = self._opened.pop(number)
        if opened.lock is not None:
            self._client.unlock(opened.lock)
        with self._lock:
            opened.node.opened -= 1
            last = opened.node.doomed and not opened.node.opened
        if last:
            with suppress(OSError):
                self._client.remove(opened.node.folder, opened.node.name)

    def _flock(self, opened: _Opened, kind: int, *, wait: bool) -> None:
        if opened.lock is not None:
            self._client.unlock(opened.lock)
            opened.lock = None
        while kind != _UNLOCKED:
            node = opened.node
            try:
                opened.lock = self._client.lock(node.folder, node.name, opened.access, shared=kind == _SHARED)
            except BlockingIOError:
                if not wait:
                    raise
                time.sleep(WAIT_SECONDS)
            else:
                return

    def _entry(self, folder: bytes, name: bytes, handle: bytes, found: Attributes) -> bytes:
        with self._lock:
            number = self._known.get(handle)
            if number is None:
                number = self._known[handle] = next(self._numbers)
                self._nodes[number] = _Node(handle, folder, name)
            elif not self._nodes[number].doomed:
                self._nodes[number].folder, self._nodes[number].name = folder, name
        return struct.pack("<QQQQII", number, 0, REMEMBERED_SECONDS, 0, 0, 0) + _attributes(found)


def _attributes(found: Attributes) -> bytes:
    times = [divmod(at, 10**9) for at in (found.accessed, found.modified, found.changed)]
    return struct.pack(
        "<QQQQQQIIIIIIIIII", found.number, found.size, -(-found.used // 512), *(at[0] for at in times),
        *(at[1] for at in times), _KINDS.get(found.kind, 0) | found.mode, found.links, found.owner, found.group,
        0, LARGEST, 0,
    )  # fmt: skip


def _listing(entries: list[Entry], offset: int, size: int) -> bytes:
    made = b""
    for number, entry in enumerate(entries[offset:], offset + 1):
        kind = _KINDS.get(entry.kind, 0) >> 12
        line = struct.pack("<QQII", entry.number, number, len(entry.name), kind) + entry.name
        line += bytes(-len(line) % 8)
        if len(made) + len(line) > size:
            break
        made += line
    return made


def main(port: str, export: str, folder: str, soft: str) -> None:
    at = Path(folder)
    client = Client(int(port), float(soft) if soft else None)
    root = client.root(export)
    mount = NfsMount(attach(at), client, root)
    threading.Thread(target=mount.renew, daemon=True).start()
    print("mounted", flush=True)
    try:
        mount.serve()
    finally:
        detach(at)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A client of NFS 4.0 (RFC 7530): what a mount asks of a server, as one compound of operations each."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import NamedTuple

FOLDER, SYMLINK = 2, 5
READ, WRITE = 1, 2
"""What a file is opened for, as bits."""

LARGEST = 1 << 17
"""Bytes that are read or written at once."""

_ANONYMOUS = bytes(16)
_LOOKED_AT = (1, 4, 20, 33, 35, 36, 37, 45, 47, 52, 53)  # the attributes of `Attributes`, in this order
_SIZE, _MODE, _OWNER, _GROUP, _ACCESS_SET, _MODIFY_SET = 4, 33, 36, 37, 48, 54
_AGAIN = (10008, 10013)  # DELAY, GRACE
_AGAIN_SECONDS = 0.05
_ERRORS = {
    63: errno.ENAMETOOLONG, 66: errno.ENOTEMPTY, 69: errno.EDQUOT, 70: errno.ESTALE, 10001: errno.ESTALE,
    10004: errno.EOPNOTSUPP, 10010: errno.EAGAIN, 10014: errno.ESTALE, 10029: errno.ELOOP, 10038: errno.EBADF,
}  # fmt: skip


class Attributes(NamedTuple):
    """What is known of a file; times in nanoseconds."""

    kind: int
    size: int
    number: int
    mode: int
    links: int
    owner: int
    group: int
    used: int
    accessed: int
    changed: int
    modified: int


class Entry(NamedTuple):
    """A name in a folder, and what to ask for to hear of those behind it."""

    name: bytes
    number: int
    kind: int
    cookie: int


class Held(NamedTuple):
    """A lock that the server has given, and the opened file that it belongs to."""

    handle: bytes
    opened: bytes
    lock: bytes


class Client:
    """One client of a server; may be used by several threads.

    Args:
        port: where the server listens on loopback.
        soft: seconds without an answer after which a call fails with EIO, at once where nobody listens; None: it waits
            until there is one.
    """

    def __init__(self, port: int, soft: float | None = None) -> None:
        self._port, self._soft = port, soft
        self._idle: list[socket.socket] = []
        self._numbers = itertools.count(int.from_bytes(os.urandom(3)))
        self._name = f"{os.getpid()}-{time.time_ns()}".encode()
        self._client: bytes | None = None
        self._client_lock = threading.Lock()

    def root(self, path: str) -> bytes:
        """The handle of an export."""
        names = [name.encode() for name in path.split("/") if name]
        answer = self._compound(_op(24), *(_op(15, _text(name)) for name in names), _op(10))
        answer.skip(1 + len(names))
        return answer.handle()

    def lookup(self, folder: bytes, name: bytes) -> tuple[bytes, Attributes]:
        """The handle of a name."""
        answer = self._compound(_at(folder), _op(15, _text(name)), _op(10), _LOOK)
        answer.skip(2)
        return answer.handle(), answer.attributes()

    def attributes(self, handle: bytes) -> Attributes:
        """What is known of a file."""
        answer = self._compound(_at(handle), _LOOK)
        answer.skip(1)
        return answer.attributes()

    def change(
        self,
        handle: bytes,
        *,
        size: int | None = None,
        mode: int | None = None,
        owner: tuple[int | None, int | None] = (None, None),
        times: tuple[int | None, int | None] = (None, None),
    ) -> Attributes:
        """Change what is not None: size, mode, user and group, times of access and of change in nanoseconds."""
        changes: dict[int, bytes] = {}
        if size is not None:
            changes[_SIZE] = struct.pack(">Q", size)
        if mode is not None:
            changes[_MODE] = _word(mode)
        for which, number in zip((_OWNER, _GROUP), owner, strict=True):
            if number is not None:
                changes[which] = _text(str(number).encode())
        for which, at in zip((_ACCESS_SET, _MODIFY_SET), times, strict=True):
            if at is not None:
                changes[which] = struct.pack(">IQI", 1, *divmod(at, 10**9))
        answer = self._compound(_at(handle), _op(34, _ANONYMOUS, _changes(changes)), _LOOK)
        answer.skip(1)
        answer.operation()
        answer.bits()
        return answer.attributes()

    def read(self, handle: bytes, offset: int, size: int) -> bytes:
        """Bytes of a file; fewer at its end."""
        answer = self._compound(_at(handle), _op(25, _ANONYMOUS, struct.pack(">QI", offset, size)))
        answer.skip(1)
        answer.operation()
        answer.word()
        return answer.text()

    def write(self, handle: bytes, offset: int, content: bytes) -> int:
        """Write bytes, which may be lost until `commit`; returns how many."""
        answer = self._compound(_at(handle), _op(38, _ANONYMOUS, struct.pack(">QI", offset, 0), _text(content)))
        answer.skip(1)
        answer.operation()
        return answer.word()

    def commit(self, handle: bytes) -> None:
        """Wait until what was written is on the server's disk."""
        self._compound(_at(handle), _op(5, struct.pack(">QI", 0, 0)))

    def create(self, folder: bytes, name: bytes, mode: int, *, new: bool) -> tuple[bytes, Attributes]:
        """Make a file; ``new``: fail if there is one."""
        handle, opened = self._open(folder, name, READ | WRITE, (int(new), mode))
        self._close(handle, opened)
        return handle, self.attributes(handle)

    def make_folder(self, folder: bytes, name: bytes, mode: int) -> tuple[bytes, Attributes]:
        """Make a folder."""
        made = _op(6, _word(FOLDER), _text(name), _changes({_MODE: _word(mode)}))
        return self._made(self._compound(_at(folder), made, _op(10), _LOOK))

    def make_symlink(self, folder: bytes, name: bytes, target: bytes) -> tuple[bytes, Attributes]:
        """Make a symbolic link."""
        made = _op(6, _word(SYMLINK), _text(target), _text(name), _changes({}))
        return self._made(self._compound(_at(folder), made, _op(10), _LOOK))

    def target(self, handle: bytes) -> bytes:
        """Where a symbolic link leads."""
        answer = self._compound(_at(handle), _op(27))
        answer.skip(1)
        answer.operation()
        return answer.text()

    def remove(self, folder: bytes, name: bytes) -> None:
        """Remove a file, or an empty folder."""
        self._compound(_at(folder), _op(28, _text(name)))

    def rename(self, folder: bytes, name: bytes, to_folder: bytes, to_name: bytes) -> None:
        """Give a file another name."""
        self._compound(_at(folder), _op(32), _at(to_folder), _op(29, _text(name), _text(to_name)))

    def link(self, handle: bytes, folder: bytes, name: bytes) -> None:
        """Give a file one name more."""
        self._compound(_at(handle), _op(32), _at(folder), _op(11, _text(name)))

    def entries(self, folder: bytes) -> list[Entry]:
        """All names in a folder."""
        found: list[Entry] = []
        cookie, check, end = 0, bytes(8), False
        while not end:
            words = struct.pack(">Q", cookie) + check + struct.pack(">II", 1 << 15, 1 << 16) + _bits((1, 20))
            answer = self._compound(_at(folder), _op(26, words))
            answer.skip(1)
            answer.operation()
            check = answer.take(8)
            while answer.word():
                cookie, name = answer.long(), answer.text()
                answer.bits()
                inner = Answer(answer.text())
                found.append(Entry(name, kind=inner.word(), number=inner.long(), cookie=cookie))
            end = bool(answer.word())
        return found

    def space(self, handle: bytes) -> tuple[int, int, int]:
        """Bytes that are free for us, free, and there at all."""
        answer = self._compound(_at(handle), _op(9, _bits((42, 43, 44))))
        answer.skip(1)
        answer.operation()
        answer.bits()
        inner = Answer(answer.text())
        return inner.long(), inner.long(), inner.long()

    def lock(self, folder: bytes, name: bytes, access: int, *, shared: bool) -> Held:
        """Lock a file as a whole, or fail with EAGAIN.

        Args:
            folder: where the file is.
            name: its name there.
            access: what it was opened for; the server gives no lock that does not fit.
            shared: others may share it.
        """
        handle, opened = self._open(folder, name, access, None)
        # As for a new owner of locks, who has opened the file.
        owner = struct.pack(">I", 3) + opened + _word(0) + self._owner()
        words = struct.pack(">IIQQI", 1 if shared else 2, 0, 0, (1 << 64) - 1, 1) + owner
        try:
            answer = self._compound(_at(handle), _op(12, words))
        except OSError:
            self._close(handle, opened, 4)
            raise
        answer.skip(1)
        answer.operation()
        return Held(handle, opened, answer.take(16))

    def unlock(self, held: Held) -> None:
        """Give a lock back; one that the server has forgotten is none."""
        words = struct.pack(">II", 1, 1) + held.lock + struct.pack(">QQ", 0, (1 << 64) - 1)
        with suppress(OSError):
            self._compound(_at(held.handle), _op(14, words))
            self._close(held.handle, held.opened, 4)

    def renew(self) -> None:
        """Say that this client is there, so that the server keeps its locks."""
        if self._client is not None:
            self._compound(_op(30, self._client))

    def _open(self, folder: bytes, name: bytes, access: int, create: tuple[int, int] | None) -> tuple[bytes, bytes]:
        """The handle of a file, and its state of being open."""
        how = _word(0) if create is None else struct.pack(">II", 1, create[0]) + _changes({_MODE: _word(create[1])})
        while True:
            words = struct.pack(">III", 1, access, 0) + self._owner() + how + _word(0) + _text(name)
            try:
                answer = self._compound(_at(folder), _op(18, words), _op(10))
            except _Forgotten:
                self._forget()
                continue
            break
        answer.skip(1)
        answer.operation()
        opened = answer.take(16)
        answer.take(20)
        flags = answer.word()
        answer.bits()
        if answer.word() in (1, 2):
            raise OSError(errno.EIO, "nobody asked for a delegation")
        handle = answer.handle()
        if flags & 2:  # OPEN4_RESULT_CONFIRM
            answer = self._compound(_at(handle), _op(20, opened, _word(2)))
            answer.skip(1)
            answer.operation()
            opened = answer.take(16)
        return handle, opened

    def _close(self, handle: bytes, opened: bytes, number: int = 3) -> None:
        self._compound(_at(handle), _op(4, _word(number), opened))

    def _made(self, answer: Answer) -> tuple[bytes, Attributes]:
        answer.skip(1)
        answer.operation()
        answer.take(20)
        answer.bits()
        return answer.handle(), answer.attributes()

    def _owner(self) -> bytes:
        """An owner of opened files or locks that nobody has been: nothing has to be asked in the order of others."""
        with self._client_lock:
            if self._client is None:
                words = os.urandom(8) + _text(self._name) + struct.pack(">I", 0) + _text(b"tcp") + _text(b"0.0.0.0.0.0")
                answer = self._compound(_op(35, words + _word(1)))
                answer.operation()
                client, proof = answer.take(8), answer.take(8)
                self._compound(_op(36, client + proof))
                self._client = client
        return self._client + _text(str(next(self._numbers)).encode())

    def _forget(self) -> None:
        with self._client_lock:
            self._client = None

    def _compound(self, *operations: bytes) -> Answer:
        """Ask for some operations, of which the first that fails is the last.

        Raises:
            OSError: one failed; EIO if no server answered.
        """
        words = struct.pack(">III", 0, 0, len(operations)) + b"".join(operations)
        while True:
            answer = Answer(self._call(words))
            status = answer.word()
            answer.text()
            answer.word()
            if status == 0:
                return answer
            if status in (10022, 10023, 10011):  # STALE_CLIENTID, STALE_STATEID, EXPIRED
                raise _Forgotten(errno.EIO, "the server has forgotten this client")
            if status not in _AGAIN:
                code = _ERRORS.get(status, status if status < 35 else errno.EIO)
                raise OSError(code, f"{os.strerror(code)} (NFS {status})")
            time.sleep(_AGAIN_SECONDS)

    def _call(self, words: bytes) -> bytes:
        number = next(self._numbers)
        # Of a call: RPC 2, program NFS, version 4, COMPOUND; as root (AUTH_SYS), without a verifier.
        user = _word(0) + _text(b"tests") + struct.pack(">III", 0, 0, 0)
        head = struct.pack(">IIIIIII", number & 0xFFFFFFFF, 0, 2, 100003, 4, 1, 1) + _text(user) + bytes(8)
        message = struct.pack(">I", len(head + words) | 1 << 31) + head + words
        end = None if self._soft is None else time.monotonic() + self._soft
        while True:
            nobody = False
            try:
                return self._exchange(message, end)
            except ConnectionRefusedError:
                nobody = True
            except (OSError, EOFError):
                pass
            if end is not None and (nobody or time.monotonic() > end):
                raise OSError(errno.EIO, "the server does not answer")
            time.sleep(_AGAIN_SECONDS)

    def _exchange(self, message: bytes, end: float | None) -> bytes:
        """Send a call on a connection that nobody uses; raises OSError or EOFError if it ends."""
        left = None if end is None else max(0.01, end - time.monotonic())
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = socket.create_connection(("127.0.0.1", self._port), left)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.settimeout(left)
            connection.sendall(message)
            answer = b""
            last = 0
            while not last:
                (mark,) = struct.unpack(">I", _received(connection, 4))
                last = mark >> 31
                answer += _received(connection, mark & 0x7FFFFFFF)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer[24:]


class Answer:
    """What a server has said, read from the front."""

    def __init__(self, words: bytes) -> None:
        self._words, self._at = words, 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        self._at += size
        return self._words[self._at - size : self._at]

    def word(self) -> int:
        """The next 32 bits."""
        return int.from_bytes(self.take(4))

    def long(self) -> int:
        """The next 64 bits."""
        return int.from_bytes(self.take(8))

    def text(self) -> bytes:
        """The next bytes that have their length before them."""
        size = self.word()
        found = self.take(size)
        self.take(-size % 4)
        return found

    def bits(self) -> None:
        """Which attributes follow; they are those that were asked for."""
        self.take(4 * self.word())

    def operation(self) -> None:
        """Before what one operation says."""
        self.take(8)

    def skip(self, operations: int) -> None:
        """Operations that say nothing."""
        self.take(8 * operations)

    def handle(self) -> bytes:
        """What GETFH says."""
        self.operation()
        return self.text()

    def attributes(self) -> Attributes:
        """What GETATTR says."""
        self.operation()
        self.bits()
        inner = Answer(self.text())
        kind, size, number, mode, links = inner.word(), inner.long(), inner.long(), inner.word(), inner.word()
        owner, group, used = int(inner.text()), int(inner.text()), inner.long()
        accessed, changed, modified = (inner.long() * 10**9 + inner.word() for _ in range(3))
        return Attributes(kind, size, number, mode, links, owner, group, used, accessed, changed, modified)


class _Forgotten(OSError):
    """The server was started anew, or has not heard of this client for long."""


def _received(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        if not (more := connection.recv(size - len(found))):
            raise EOFError
        found += more
    return bytes(found)


def _word(number: int) -> bytes:
    return struct.pack(">I", number)


def _text(content: bytes) -> bytes:
    return _word(len(content)) + content + bytes(-len(content) % 4)


def _op(number: int, *words: bytes) -> bytes:
    return _word(number) + b"".join(words)


def _at(handle: bytes) -> bytes:
    return _op(22, _text(handle))


def _bits(numbers: tuple[int, ...]) -> bytes:
    words = [0, 0]
    for number in numbers:
        words[number // 32] |= 1 << number % 32
    return struct.pack(">III", 2, *words)


def _changes(changes: dict[int, bytes]) -> bytes:
    return _bits(tuple(changes)) + _text(b"".join(changes[number] for number in sorted(changes)))


_LOOK = _op(9, _bits(_LOOKED_AT))

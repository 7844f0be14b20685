"""What a file system of our own needs of the kernel's FUSE: to be mounted, asked, and taken away again."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import threading
from pathlib import Path

HEADER = struct.Struct("<IIQQIIIHH")  # length, what is asked, number, node, user, group, process
INIT = 26
_UNANSWERED = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET
_OWN_FLAGS = 2 | 4  # no programs of other users, no devices
_DETACH = 2
_SIGKILL_BIT = 1 << (signal.SIGKILL - 1)

LOOK_SECONDS = 0.1
"""How often it is looked for those who were killed while they wait."""

READ_ONLY = 1

_libc = ctypes.CDLL(None, use_errno=True)


def works() -> bool:
    """Whether this machine can mount."""
    return os.geteuid() == 0 and Path("/dev/fuse").exists()


class FileSystem:
    """Answers what the kernel asks, each question in a thread of its own.

    Args:
        device: of `attach`.
    """

    def __init__(self, device: int) -> None:
        self._device = device
        self._asking: dict[int, int] = {}
        self._ended = threading.Event()

    def serve(self) -> None:
        """Answer until the mount is gone."""
        threading.Thread(target=self._let_go, daemon=True).start()
        while True:
            try:
                request = os.read(self._device, (1 << 20) + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                self._ended.set()
                return
            _, what, number, node, _, _, process, _, _ = HEADER.unpack_from(request)
            if what not in _UNANSWERED:
                self._asking[number] = process
                words = (what, number, node, request[HEADER.size :], process)
                threading.Thread(target=self._work, args=words, daemon=True).start()

    def body(self, what: int, node: int, words: bytes, process: int) -> bytes:
        """The answer to one question; OSError is one, too.

        Args:
            what: the operation.
            node: what it is about; 1 is the root.
            words: what came beside.
            process: the thread that asks.
        """
        raise OSError(errno.ENOSYS, "")

    def answer(self, number: int, code: int, body: bytes = b"") -> None:
        """Hand an answer over; a question is answered once."""
        if self._asking.pop(number, None) is None:
            return
        try:
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), -code, number) + body)
        except OSError:
            return  # Whoever asked is gone, or the mount is.

    def _let_go(self) -> None:
        """Let those go on who are killed: they wait for no answer."""
        while not self._ended.wait(LOOK_SECONDS):
            for number, process in tuple(self._asking.items()):
                if _is_killed(process):
                    self.answer(number, errno.EINTR)

    def _work(self, what: int, number: int, node: int, words: bytes, process: int) -> None:
        try:
            body = self.body(what, node, words, process)
        except OSError as error:
            self.answer(number, error.errno or errno.EIO)
        else:
            self.answer(number, 0, body)


def attach(at: Path, flags: int = 0) -> int:
    """Mount on a folder; returns the device by which the kernel asks."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    words = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if _libc.mount(b"test", os.fsencode(at), b"fuse", _OWN_FLAGS | flags, words.encode()) != 0:
        os.close(device)
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(at))
    return device


def detach(at: Path) -> None:
    """Take a mount away; what is still used of it ends with its users."""
    _libc.umount2(os.fsencode(at), _DETACH)


def _is_killed(thread: int) -> bool:
    try:
        lines = Path(f"/proc/{thread}/status").read_text().splitlines()
    except OSError:
        return True
    waiting = next(line.split()[1] for line in lines if line.startswith("SigPnd:"))
    return bool(int(waiting, 16) & _SIGKILL_BIT)

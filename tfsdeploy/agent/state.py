"""A fleet's state in a volume that only containers see: what commands have done there, under its locks."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tfsdeploy.errors import Busy
from tfsdeploy.files import replace_file
from tfsdeploy.release.conflict import Conflict, check_expected
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Release, decode
from tfsdeploy.release.update import Author

log = logging.getLogger(__name__)

WORD_BYTES = 96 * 1024
"""Linux takes arguments of at most 128 KiB each."""

CHUNK = 1 << 16
CONNECT_SECONDS = 3.0

GIVEN_FILES = ("settings.json", "pins.json")


def packed(text: str) -> tuple[str, ...]:
    """A document as words of a command line: through `docker exec` nothing else passes on every way to an engine."""
    packed_text = base64.b64encode(zlib.compress(text.encode())).decode()
    return tuple(packed_text[at : at + WORD_BYTES] for at in range(0, len(packed_text), WORD_BYTES))


def unpacked(words: Sequence[str]) -> str:
    """The inverse of `packed`.

    Raises:
        ValueError: nonsense.
    """
    try:
        return zlib.decompress(base64.b64decode("".join(words), validate=True)).decode()
    except zlib.error as error:
        raise ValueError(str(error)) from error


def identity(release: Release | None) -> str:
    """What a swap has to find, as one word."""
    return "none" if release is None else f"{release.uid}:{release.generation}"


def swap(folder: Path, expected: str, document: str) -> None:
    """Write a release if the present one is still the one that is expected.

    Raises:
        Conflict: somebody else wrote meanwhile; nothing was written.
    """
    releases = ReleaseFolder(folder)
    present = releases.read()
    if identity(present) != expected:
        check_expected(present, None, str(releases.document))
        raise Conflict("the release document is gone", where=str(releases.document))
    releases.swap(decode(document), present)


def forget(folder: Path, names: Sequence[str]) -> None:
    """Remove what replicas that are gone have announced."""
    for name in names:
        shutil.rmtree(folder / "replicas" / name, ignore_errors=True)


def hold(folder: Path, who: str, until: BinaryIO) -> None:
    """Hold the lock on the fleet's shape until the input ends, as it does when the command that holds it dies.

    Raises:
        Busy: somebody else has it.
    """
    with open(folder / "apply.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another command"
            raise Busy(f"the shape of the fleet is being changed by {holder}") from None
        lock.truncate(0)
        lock.write(f"{who}\n")
        lock.flush()
        sys.stdout.write("held\n")
        sys.stdout.flush()
        until.read()


def keep(folder: Path, fleet: str, given: Path | None) -> None:
    """Take over what a rendered folder hands over, once a change of it, and stay until SIGTERM.

    Args:
        folder: the fleet's state.
        fleet: its name.
        given: holds the settings and the pins; None: commands write them.
    """
    ending = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    (folder / "replicas").mkdir(parents=True, exist_ok=True)
    if given is not None:
        for name in GIVEN_FILES:
            _take_over(folder, name, (given / name).read_text())
        releases = ReleaseFolder(folder)
        if releases.read() is None:
            change = Author(f"keeper of {fleet}", "first release").change()
            try:
                releases.swap(Release(fleet, uuid.uuid4().hex, 1, change), None)
            except Conflict:
                log.info("a command was first")
    signal.sigwait(ending)


def _take_over(folder: Path, name: str, text: str) -> None:
    """A file is taken over when it has changed: a command may have written another one since, which stays."""
    note, digest = folder / f"{name}.given", hashlib.sha256(text.encode()).hexdigest()
    if note.exists() and note.read_text() == digest:
        return
    replace_file(folder / name, text)
    replace_file(note, digest)


def pipe(to: str, given: int, taken: int) -> None:
    """Connect to an address, and copy both ways until either side ends.

    Args:
        to: ``host:port``.
        given: file descriptor of what is to be sent.
        taken: file descriptor for what comes.
    """
    host, _, port = to.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as there:
        there.settimeout(None)

        def send() -> None:
            with suppress(OSError):
                while chunk := os.read(given, CHUNK):
                    there.sendall(chunk)
                there.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=send, daemon=True).start()
        with suppress(OSError):
            while chunk := there.recv(CHUNK):
                os.write(taken, chunk)

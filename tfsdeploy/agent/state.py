"""A fleet's state in a volume that only containers see: what commands have done there, under its locks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.files import replace_file
from tfsdeploy.release.conflict import Conflict, check_expected
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Release, decode
from tfsdeploy.release.update import Author

log = logging.getLogger(__name__)

CHUNK = 1 << 16
CONNECT_SECONDS = 3.0

GIVEN_FILES = ("settings.json", "pins.json")
HELD = "the shape of the fleet is being changed by"
READ = ("release.json", *GIVEN_FILES)


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


def hand_over(folder: Path, files: Mapping[str, str]) -> bool:
    """Let whoever sees the folder have what opens the store; whether that is other than what was there.

    Args:
        folder: where it goes; only its user reads it.
        files: name -> content; what is not among them stays as it is.
    """
    changed = [name for name, text in files.items() if _text_of(folder / name) != text]
    before = os.umask(0o077)
    try:
        for name in changed:
            replace_file(folder / name, files[name])
    finally:
        os.umask(before)
    return bool(changed)


def serve(folder: Path, handed: Path, asked: Iterable[bytes], said: BinaryIO) -> None:
    """Answer requests, a JSON document a line, until there are no more.

    Args:
        folder: the fleet's state.
        handed: where replica agents find what opens the store.
        asked: the requests: what to ``do``, and what it needs.
        said: gets an answer for each: ``result``, or ``error`` with the exit code that a command would have.
    """
    for line in asked:
        try:
            answer = {"result": _answered(folder, handed, json.loads(line))}
        except (TfsdeployError, OSError, ValueError) as error:
            answer = _failure(error)
        said.write(json.dumps(answer).encode() + b"\n")
        said.flush()


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, TfsdeployError):
        return {"error": error.message, "exit": error.exit_code}
    words = error.strerror if isinstance(error, OSError) else None
    return {"error": words or str(error), "exit": TfsdeployError.exit_code}


def _answered(folder: Path, handed: Path, request: Mapping[str, Any]) -> Any:
    match request:
        case {"do": "read", "name": str(name)} if name in READ:
            return _text_of(folder / name)
        case {"do": "history"}:
            return [text for file in sorted(folder.glob("history/*.json")) if (text := _text_of(file)) is not None]
        case {"do": "write", "name": str(name), "text": str(text)} if name in GIVEN_FILES:
            return replace_file(folder / name, text)
        case {"do": "swap", "expected": str(expected), "document": str(document)}:
            return swap(folder, expected, document)
        case {"do": "forget", "names": list(names)}:
            return forget(folder, names)
        case {"do": "hand over", "files": dict(files)}:
            return hand_over(handed, files)
    raise TfsdeployError("the agent of this fleet does not know this request: it is of another version")


def _text_of(file: Path) -> str | None:
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        return None


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
            raise Busy(f"{HELD} {holder}") from None
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

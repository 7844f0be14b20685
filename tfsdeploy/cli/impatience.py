"""Ctrl-C, SIGTERM and ``--timeout`` end a command also while it waits for what cannot be interrupted.

Python's own handlers run in the main thread, between two of its steps: not while that thread is inside a library that
waits for an object store, which can take minutes. The number of a signal is written to a socket at once (`signal`,
set_wakeup_fd), where a thread hears it. While the kernel itself waits for a mount that hangs, the main thread takes no
signal at all; then that thread does. Every command leaves what the next one can go on from, however it ends. SIGTERM,
by which CI and clusters end what they have started, is heard as Ctrl-C is.
"""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager

from tfsdeploy.cli.answer import Answer
from tfsdeploy.errors import Interrupted, TfsdeployError
from tfsdeploy.files import remove_temporary

GRACE_SECONDS = {signal.SIGINT: 10.0, signal.SIGTERM: 5.0, signal.SIGALRM: 1.0}
"""How long a command may take to end in good order: after Ctrl-C, before who sent SIGTERM sends SIGKILL (Docker: 10 s),
and when its time is up."""

READING_SECONDS = 1.0
"""The same for a command that only reads: it has nothing to bring to an end."""

WATCHED = frozenset(GRACE_SECONDS)

LOOK_SECONDS = 0.25
"""How long the main thread may leave a signal before another one takes it."""

TWICE_SECONDS = 1.0
"""A second Ctrl-C after so long ends it at once; before, it was the same finger."""


@contextmanager
def impatient(answer: Answer, given_up: Callable[[], TfsdeployError], *, reads: bool = False) -> Iterator[None]:
    """End the process if the block does not end in time after a signal.

    Args:
        answer: tells the error.
        given_up: what is told when SIGALRM has said that time is up.
        reads: the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    # What whoever started the command has said to ignore stays ignored.
    own = {
        number: usual
        for number in (signal.SIGINT, signal.SIGTERM)
        if (usual := signal.getsignal(number)) in (signal.default_int_handler, signal.SIG_DFL)
    }
    interrupt = _interrupting_once()
    for number in own:
        signal.signal(number, interrupt)
    thread = threading.Thread(target=_watch, args=(heard, answer, given_up, reads), name="impatience", daemon=True)
    thread.start()
    try:
        yield
    finally:
        for number, usual in own.items():
            signal.signal(number, usual)
        signal.set_wakeup_fd(before)
        told.close()
        thread.join()
        heard.close()


def _interrupting_once() -> Callable[[int, object], None]:
    """What the main thread does at SIGINT and SIGTERM: a second one, as CI systems send it, cuts no clean-up off."""
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    return interrupt


def _watch(heard: socket.socket, answer: Answer, given_up: Callable[[], TfsdeployError], reads: bool) -> None:
    grace = dict.fromkeys(WATCHED, READING_SECONDS) if reads else GRACE_SECONDS
    # What is blocked here, and not taken by the main thread, can be seen here.
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    heard.settimeout(LOOK_SECONDS)
    first, since, told = 0, 0.0, False
    left: Set[signal.Signals] = frozenset()
    while True:
        if first and time.monotonic() - since > grace[signal.Signals(first)]:
            break
        if first == signal.SIGINT and not told and time.monotonic() - since > TWICE_SECONDS:
            told = True
            sys.stderr.write("ending as soon as it can; Ctrl-C again ends it at once\n")
            sys.stderr.flush()
        try:
            numbers = heard.recv(64)
        except TimeoutError:
            left = _take(left)
            continue
        if not numbers:
            return
        wanted = [number for number in numbers if number in WATCHED]
        if first and signal.SIGINT in wanted and time.monotonic() - since > TWICE_SECONDS:
            break
        if wanted and not first:
            first, since = wanted[0], time.monotonic()
    error = given_up() if first == signal.SIGALRM else _interrupted(reads)
    code = answer.fail(error)
    sys.stdout.flush()
    remove_temporary()
    os._exit(code)


def _take(left: Set[signal.Signals]) -> Set[signal.Signals]:
    """Take signals that were left at the last look, too, and say to Python that they came; returns those left now."""
    now = {one for one in WATCHED if one in signal.sigpending()}
    if now & left and (taken := signal.sigtimedwait(now & left, 0)) is not None:
        _thread.interrupt_main(signal.Signals(taken.si_signo))
        now.discard(signal.Signals(taken.si_signo))
    return now


def _interrupted(reads: bool) -> TfsdeployError:
    hint = "nothing was undone; the same command continues, `tfsdeploy status` shows how it stands"
    return Interrupted(
        "interrupted while it waited for what does not answer", hint="nothing was changed" if reads else hint
    )

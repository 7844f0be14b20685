"""Processes that outlive whoever started them: found again by a mark, told apart by their start time, held by a pidfd.

Every process of a fleet carries its place in its
environment (`MARK`), which no crash can lose: whoever starts it may be killed before writing anything down.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

from tfsdeploy.processes import Identity, identity, is_alive, stat

MARK = "TFSDEPLOY_PROCESS"
"""Environment variable of every process of a fleet: ``FOLDER/UNIT/PROCESS``."""


def marked(folder: Path, *, leaders: bool = True) -> Iterator[tuple[str, Identity]]:
    """The living processes that belong to a fleet folder.

    Args:
        folder: the fleet's state folder.
        leaders: only those that were started for the fleet themselves, not the ones that they started.

    Yields:
        ``UNIT/PROCESS`` and who it is.
    """
    prefix = f"{MARK}={folder}/".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            environment = Path("/proc", entry, "environ").read_bytes()
        except OSError:
            continue
        place = next((item for item in environment.split(b"\0") if item.startswith(prefix)), None)
        if place is None or (leaders and not _leads_session(int(entry))):
            continue
        process = identity(int(entry))
        if process is not None:
            yield place[len(prefix) :].decode(), process


class Handle:
    """A living process, held so that no signal can ever reach another one that got its number."""

    def __init__(self, process: Identity, descriptor: int) -> None:
        self.process = process
        self.descriptor = descriptor

    @classmethod
    def open(cls, process: Identity) -> Handle | None:
        """Hold a process; None if it is gone."""
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return None
        if not is_alive(process):
            os.close(descriptor)
            return None
        return cls(process, descriptor)

    def ended(self) -> bool:
        """Whether it has ended."""
        return bool(select.select([self.descriptor], [], [], 0)[0])

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for ``seconds`` at most; whether it has."""
        return bool(select.select([self.descriptor], [], [], seconds)[0])

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)


def end_all(processes: list[Identity], *, grace: float) -> None:
    """End processes: SIGTERM, and SIGKILL for those that are still there after ``grace`` seconds all together."""
    handles = [handle for process in processes if (handle := Handle.open(process)) is not None]
    for handle in handles:
        handle.send(signal.SIGTERM)
        # A stopped process only sees SIGTERM once it goes on.
        handle.send(signal.SIGCONT)
    poller = select.poll()
    waiting = {handle.descriptor: handle for handle in handles}
    for descriptor in waiting:
        poller.register(descriptor, select.POLLIN)
    while waiting:
        ended = poller.poll(grace * 1000)
        if not ended:
            for handle in waiting.values():
                handle.send(signal.SIGKILL)
            grace = 5.0
            continue
        for descriptor, _ in ended:
            poller.unregister(descriptor)
            waiting.pop(descriptor)
    for handle in handles:
        handle.close()


def _leads_session(pid: int) -> bool:
    fields = stat(pid)
    return fields is not None and int(fields[3]) == pid

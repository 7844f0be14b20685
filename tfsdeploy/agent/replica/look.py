"""Whether a store could be used, also at rest: a mount can hang or go stale under what serves, or a key be lost.

What is loaded serves on whatever is found; it is told, so that somebody mends the mount before a server has to start.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from tfsdeploy.agent.replica.memory import Key
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.store import FileStore

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0

HUNG_SECONDS = 10.0
"""A look that takes longer waits for storage that hangs."""


class StoreLook:
    """Looks in a thread of its own, one at a time, and never waits for it.

    Args:
        look: what is wrong with the store, in words, None if nothing is; of the versions that the model server has or
            is to have. May take its time.
    """

    def __init__(self, look: Callable[[Collection[Key]], str | None]) -> None:
        self._look = look
        self._thread: threading.Thread | None = None
        self._begun = float("-inf")
        self._found: str | None = None
        self._back = False

    @property
    def error(self) -> str | None:
        """What is wrong with the store; None if nothing is, as far as is known."""
        return self._found

    def came_back(self) -> bool:
        """Whether what was wrong has ended since this was last asked."""
        back, self._back = self._back, False
        return back

    def look(self, listed: Collection[Key]) -> None:
        """Look again if it is time to, and notice a look that hangs.

        Args:
            listed: the versions that the model server has or is to have.
        """
        now = time.monotonic()
        if self._thread is not None and self._thread.is_alive():
            if now - self._begun > HUNG_SECONDS:
                self._tell(f"the store has not answered for {HUNG_SECONDS:g} s")
        elif now - self._begun > LOOK_SECONDS:
            self._begun = now
            # A daemon: storage that hangs must not keep the agent from ending.
            self._thread = threading.Thread(target=self._work, args=(tuple(listed),), name="store", daemon=True)
            self._thread.start()

    def _work(self, listed: tuple[Key, ...]) -> None:
        self._tell(self._look(listed))

    def _tell(self, found: str | None) -> None:
        if found == self._found:
            return
        self._found = found
        if found is None:
            self._back = True
            log.info("the store is there again")
        else:
            log.warning("%s; what is loaded serves on", found)


@dataclass(slots=True)
class _Load:
    """One load of a version: whether its files were there after it, None until that is known; whether that was told."""

    whole: bool | None = None
    told: bool = False


class SecondLook:
    """Whether the files of a version were still all there when a server had loaded it from a store read in place.

    Args:
        store: the folder that the model server reads.
        changed: called, in the loop's thread, whenever something new is known.
    """

    def __init__(self, store: FileStore, changed: Callable[[], None]) -> None:
        self._store = store
        self._changed = changed
        self._loads: dict[Key, _Load] = {}

    @property
    def unsure(self) -> frozenset[Key]:
        """Those that were not seen whole, or not yet."""
        return frozenset(key for key, load in self._loads.items() if not load.whole)

    @property
    def torn(self) -> frozenset[Key]:
        """Those that were seen, and were not whole."""
        return frozenset(key for key, load in self._loads.items() if load.whole is False)

    def look(self, arrived: Collection[Key]) -> set[Key]:
        """Look at what is new, each in a thread of its own, and forget the rest; never waits.

        Args:
            arrived: the versions that a server has loaded, and has not been trusted with yet.

        Returns:
            Those that have been found torn since this was last asked.
        """
        new = {key: _Load() for key in arrived if key not in self._loads}
        self._loads = {key: load for key, load in self._loads.items() if key in arrived} | new
        for key, load in new.items():
            # Daemons: storage that hangs must not keep the agent from ending.
            words = (key, load, asyncio.get_running_loop())
            threading.Thread(target=self._work, args=words, name="second look", daemon=True).start()
        torn = {key for key in self.torn if not self._loads[key].told}
        for key in torn:
            self._loads[key].told = True
        return torn

    def _work(self, key: Key, load: _Load, loop: asyncio.AbstractEventLoop) -> None:
        words = missing(self._store, *key)
        if words is not None:
            log.warning("%s by the time that it was loaded; it is loaded anew", words)
        load.whole = words is None
        with suppress(RuntimeError):  # the loop has ended: nobody wants to know any more
            loop.call_soon_threadsafe(self._changed)


def missing(store: FileStore, model: str, version: int) -> str | None:
    """What of a version is not there, in words; None if its files are. Waits for the storage."""
    name = f"{model}/{version}"
    try:
        record = store.record(model, version)
        if record is None:
            return f"{name}: the store had nothing under this number"
        for file in record.files:
            if (store.version_path(model, version) / file.path).stat().st_size != file.size:
                return f"{name}/{file.path} had another size"
    except (TfsdeployError, OSError) as error:
        return f"{name} could not be read: {error}"
    return None


def trouble(store: FileStore, listed: Collection[Key]) -> str | None:
    """Why the model server could not read again what it has, in words; None if it could. Waits for the storage."""
    try:
        store.root.stat()
    except OSError as error:
        return f"the store {store.root} cannot be read: {error.strerror}"
    gone = []
    for model, version in sorted(listed):
        try:
            (store.version_path(model, version) / RECORD_FILE).stat()
        except (FileNotFoundError, NotADirectoryError):
            gone.append(f"{model}/{version}")
        except OSError as error:
            return f"{model}/{version} cannot be read in the store: {error.strerror}"
    return f"the store {store.root} lacks {', '.join(gone)}" if gone else None

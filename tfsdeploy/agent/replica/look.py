"""Whether a store that is read in place still answers, also at rest: a mount can hang or go stale under what serves.

What is loaded serves on whatever is found; it is told, so that somebody mends the mount before a server has to start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection

from tfsdeploy.agent.replica.memory import Key
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.store import FileStore

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0

HUNG_SECONDS = 10.0
"""A look that takes longer waits for storage that hangs."""


class StoreLook:
    """Looks in a thread of its own, one at a time, and never waits for it.

    Args:
        store: the folder that the model server reads.
    """

    def __init__(self, store: FileStore) -> None:
        self._store = store
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
        self._tell(trouble(self._store, listed))

    def _tell(self, found: str | None) -> None:
        if found == self._found:
            return
        self._found = found
        if found is None:
            self._back = True
            log.info("the store is there again")
        else:
            log.warning("%s; what is loaded serves on", found)


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

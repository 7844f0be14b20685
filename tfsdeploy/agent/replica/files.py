"""The files of the versions that are wanted: looked up in the store, verified once, in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfsdeploy.agent.replica.decide import Files
from tfsdeploy.agent.replica.memory import Key
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.verify import Damaged, VerifiedCache, verify

RETRY_SECONDS = 2.0
"""How soon what could not be looked at, or was wrong, is looked at again: somebody may mend it."""

PROGRESS_SECONDS = 0.25


class VersionFiles:
    """Knows of each wanted version whether its bytes are those of its commit record.

    Args:
        store: where the models are.
        cache: what was verified on this machine already.
        changed: called, in the loop's thread, whenever something new is known.
    """

    def __init__(self, store: FileStore, cache: VerifiedCache | None, changed: Callable[[], None]) -> None:
        self._store = store
        self._cache = cache
        self._changed = changed
        self._known: dict[Key, tuple[str | None, Files]] = {}
        self._again: dict[Key, float] = {}
        self._task: asyncio.Task[None] | None = None

    def known(self) -> dict[Key, Files]:
        """What is known of every version that was asked for."""
        return {key: files for key, (_, files) in self._known.items()}

    def complete(self, wanted: Mapping[Key, str | None]) -> bool:
        """Whether every wanted version was looked at."""
        return all(key in self._known and self._known[key][1].state != "verifying" for key in wanted)

    def want(self, wanted: Mapping[Key, str | None]) -> None:
        """Look at what is new, again at what was wrong, and forget the rest; one version at a time."""
        for key in self._known.keys() - wanted.keys():
            del self._known[key]
        if self._task is not None and not self._task.done():
            return
        now = time.monotonic()
        for key in sorted(wanted):
            digest, files = self._known.get(key, (None, Files("unknown")))
            due = files.state == "unknown" or (wanted[key] not in (None, digest) and files.state != "bad")
            due = due or (files.state in ("bad", "away") and now >= self._again.get(key, 0.0))
            if due:
                self._task = asyncio.create_task(self._look(key, wanted[key]))
                return

    async def close(self) -> None:
        """Stop looking; a verification that runs in a thread is not waited for."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self, key: Key, digest: str | None) -> None:
        found = await asyncio.to_thread(self._files, key, digest, self._teller(key, digest))
        self._again[key] = time.monotonic() + RETRY_SECONDS
        self._known[key] = (digest, found)
        self._changed()

    def _files(self, key: Key, digest: str | None, tell: Callable[[int, int], None]) -> Files:
        """In a thread: the storage may be slow."""
        name = f"{key[0]}/{key[1]}"
        path = self._store.version_path(*key)
        try:
            if not self._store.model_path(key[0]).is_dir():
                return Files("away", f"{name}: the store has no folder {key[0]} at {self._store.root}")
            record = self._store.record(*key)
            if record is None:
                found = "a folder without a commit record" if path.is_dir() else "nothing"
                return Files("bad", f"{name}: the store has {found} under this number")
            if digest is not None and record.digest != digest:
                return Files("bad", f"{name}: the store holds {record.digest}, the release names {digest}")
            (verify if self._cache is None else self._cache.verify)(path, record, tell)
            return Files("present")
        except Damaged as damage:
            return Files("bad", str(damage))
        except TfsdeployError as error:
            return Files("bad", str(error))
        except OSError as error:
            return Files("away", f"{name}: {error.strerror}")

    def _teller(self, key: Key, digest: str | None) -> Callable[[int, int], None]:
        loop = asyncio.get_running_loop()
        told = 0.0

        def tell(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                loop.call_soon_threadsafe(self._tell, key, digest, Files("verifying", done=done, total=total))

        return tell

    def _tell(self, key: Key, digest: str | None, files: Files) -> None:
        before: Any = self._known.get(key)
        if before is None or before[1].state in ("unknown", "verifying"):
            self._known[key] = (digest, files)
            self._changed()

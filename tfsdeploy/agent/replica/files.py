"""The files of the versions that are wanted: fetched if they are elsewhere, verified once, in a thread."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from tfsdeploy.agent.replica.daemon import in_a_daemon
from tfsdeploy.agent.replica.decide import UNKNOWN, Files
from tfsdeploy.agent.replica.memory import Key
from tfsdeploy.agent.replica.metrics import Metrics
from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.store.answers import StoreAway, StoreClosed, StoreError
from tfsdeploy.store.signing import Untrusted
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.tree import Progress
from tfsdeploy.store.verify import Damaged, VerifiedCache

if TYPE_CHECKING:
    from tfsdeploy.store.fetch import Fetcher

log = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""How soon what could not be looked at, or was wrong, is looked at again: somebody may mend it."""

PROGRESS_SECONDS = 0.25

HOLD_SECONDS = 2.0
"""How long the next step waits until it is noted what is in use."""

REFUSALS = 3
"""So many refusals in a row, within about three seconds, are no passing thing: who promotes is told."""

HUNG_SECONDS = 30.0
"""A look that gets no further for so long waits for storage that hangs; the next version's turn comes."""


_LOOKING = ("unknown", "fetching", "verifying")


def pause(tries: int, chance: float) -> float:
    """How long to wait before what could not be looked at is looked at again.

    Of a hundred replicas that lost the same store, not all are to come back at the same moment.

    Args:
        tries: how often that was so before, in a row.
        chance: anything from 0 to 1.

    Returns:
        Seconds: from half to all of what `RETRY_SECONDS` says.
    """
    return RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)] * (1 + chance) / 2


class _Stopped(Exception):
    """Nobody wants to know any more."""


@dataclass(slots=True)
class _Looked:
    """One version: for which digest and promote it was looked at, what was found and logged, when again, how far."""

    digest: str | None
    files: Files
    promote: str | None
    again: float = 0.0
    tries: int = 0
    refusals: int = 0
    told: str = ""
    most: int = 0


class VersionFiles:
    """Knows of each wanted version whether its bytes are those of its commit record.

    Args:
        store: where the models are.
        cache: what was verified on this machine already.
        changed: called, in the loop's thread, whenever something new is known.
        metrics: hears how long versions took.
        fetcher: brings versions into the store; None if they are there by themselves.
    """

    def __init__(
        self,
        store: FileStore,
        cache: VerifiedCache,
        changed: Callable[[], None],
        metrics: Metrics,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._changed = changed
        self._metrics = metrics
        self._fetcher = fetcher
        self._in_use: set[Key] = set()
        self._to_hold: set[Key] = set()
        self._holding: asyncio.Future[bool] | None = None
        self._looked: dict[Key, _Looked] = {}
        self._task: asyncio.Task[None] | None = None
        self._at: Key | None = None
        self._hung: set[asyncio.Task[None]] = set()
        self._progressed = 0.0
        self._closed = threading.Event()

    def known(self) -> dict[Key, Files]:
        """What is known of every version that was asked for."""
        return {key: looked.files for key, looked in self._looked.items()}

    def complete(self) -> bool:
        """Whether every wanted version was looked at."""
        return all(looked.files.state not in _LOOKING for looked in self._looked.values())

    def want(self, wanted: Mapping[Key, str | None], promotes: Mapping[Key, str] | None = None) -> None:
        """Look at what is new, again at what was wrong, and forget the rest; one version at a time.

        Args:
            wanted: versions, with the digests that the release names.
            promotes: of those that a promote asks for, which run of it. What was wrong before it asked may have been
                mended since: nothing is known of it until it is looked at anew.
        """
        for key in self._looked.keys() - wanted.keys():
            del self._looked[key]
        for key, digest in wanted.items():
            looked, promote = self._looked.get(key), (promotes or {}).get(key)
            asked_anew = looked is not None and promote not in (None, looked.promote)
            if looked is None or looked.digest != digest or (asked_anew and looked.files.state != "present"):
                self._looked[key] = _Looked(digest, UNKNOWN, promote)
        for task in [task for task in self._hung if task.done()]:
            self._hung.remove(task)
            task.result()
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        elif self._task is not None and time.monotonic() - self._progressed > HUNG_SECONDS:
            self._set_aside(self._task)
        due = [key for key, looked in self._looked.items() if looked.again <= time.monotonic()]
        if self._task is None and due:
            key = min(due, key=lambda key: (self._looked[key].again, key))
            self._at, self._progressed = key, time.monotonic()
            self._task = asyncio.create_task(self._look(key, self._looked[key]))

    async def hold(self, wanted: Iterable[Key], *in_use: Iterable[Key]) -> None:
        """Say what is not to be removed from this machine.

        Args:
            wanted: versions that the model server is to have; other bytes under such a number are kept for nobody, or
                replicas that all wait for the new ones would keep the old ones for one another.
            in_use: those that it has.
        """
        waiting = {key for key, looked in self._looked.items() if looked.files.taken}
        versions = (set(wanted) - waiting).union(*in_use)
        if self._fetcher is None or versions == self._in_use:
            return
        if self._holding is None:
            self._to_hold = versions
            self._holding = in_a_daemon("hold", partial(self._fetcher.cache.hold, versions))
        # A folder that is shared can be a mount that hangs: then what needs no folder goes on, such as a rollback.
        await asyncio.wait([self._holding], timeout=HOLD_SECONDS)
        if self._holding.done():
            if self._holding.result():
                self._in_use = self._to_hold
            self._holding = None

    def look_again(self, keys: Iterable[Key] | None = None) -> None:
        """Look anew at some versions, or at all; until that is done nothing is known of them."""
        for key in list(self._looked) if keys is None else self._looked.keys() & keys:
            self._looked[key] = _Looked(self._looked[key].digest, UNKNOWN, self._looked[key].promote)

    def close(self) -> None:
        """Stop looking, and let go of what is in use."""
        self._closed.set()
        if self._fetcher is not None:
            # A daemon, too: locks end with the process at the latest.
            threading.Thread(target=self._fetcher.cache.hold, args=((),), daemon=True).start()
        for task in (self._task, *self._hung):
            if task is not None:
                task.cancel()

    def _set_aside(self, task: asyncio.Task[None]) -> None:
        """Let a look that hangs wait by itself; should it end, what it found counts."""
        self._hung.add(task)
        self._task = None
        looked = None if self._at is None else self._looked.get(self._at)
        if self._at is not None and looked is not None:
            words = f"{self._at[0]}/{self._at[1]}: the store has not answered for {HUNG_SECONDS:g} s"
            log.warning("%s", words)
            looked.files, looked.again = Files("away", words), float("inf")

    async def _look(self, key: Key, looked: _Looked) -> None:
        loop = asyncio.get_running_loop()
        fetching, verifying = (self._teller(key, looked, loop, state) for state in ("fetching", "verifying"))
        found = await in_a_daemon(
            f"verify {key[0]}/{key[1]}", partial(self._files, key, looked.digest, fetching, verifying)
        )
        if self._looked.get(key) is not looked:
            return
        if found.error and found.error != looked.told:
            log.warning("%s", found.error)
        looked.told = found.error
        looked.refusals = looked.refusals + 1 if found.state == "refused" else 0
        if 0 < looked.refusals < REFUSALS:
            found = replace(found, state="away")
        looked.files = found
        if found.state == "present":
            looked.again, looked.tries = float("inf"), 0
        else:
            looked.again = time.monotonic() + pause(looked.tries, random.random())
            looked.tries += 1
        self._changed()

    def _files(self, key: Key, digest: str | None, fetching: Progress, verifying: Progress) -> Files:
        name = f"{key[0]}/{key[1]}"
        path = self._store.version_path(*key)
        try:
            if self._fetcher is not None and (brought := self._fetcher.bring(*key, digest, fetching)) is not None:
                self._cache.trust(path, brought)
            if not self._store.root.is_dir():
                return Files("away", f"{name}: the store {self._store.root} is not there")
            record = self._store.record(*key)
            if record is None:
                found = "a folder without a commit record" if path.is_dir() else "nothing"
                return Files("bad", f"{name}: the store has {found} under this number")
            if digest is not None and record.digest != digest:
                return Files("bad", f"{name}: the store holds {record.digest}, the release names {digest}")
            began = time.monotonic()
            try:
                self._cache.verify(path, record, verifying)
            except Damaged as damage:
                if self._fetcher is None:
                    raise
                # What rotted here is whole where it came from.
                try:
                    mended = self._fetcher.mend(*key, digest, fetching)
                except (StoreError, OSError) as error:
                    # Not away: a server that was started again may have loaded what rotted.
                    return Files("bad", f"{damage.message}, and it cannot be fetched anew: {error}")
                if mended is not None:
                    self._cache.trust(path, mended)
            self._metrics.verify_seconds.observe(time.monotonic() - began)
            return Files("present", total=record.bytes, digest=record.digest)
        except _Stopped:
            return UNKNOWN
        except (Damaged, Untrusted) as damage:
            return Files("bad", damage.message)
        except StoreAway as error:
            return Files("away", str(error))
        except Busy as error:
            return Files("away", str(error), taken=True)
        except StoreClosed as error:
            return Files("refused", str(error))
        except TfsdeployError as error:
            away = isinstance(error.__cause__, OSError)
            words = error.message if error.message.startswith(name) else f"{name}: {error.message}"
            return Files("away" if away else "bad", words)
        except OSError as error:
            return Files("away", f"{name}: {error.strerror}")
        except (ValueError, RecursionError) as error:
            # Such as a thousand folders in one another: one version must not take the others' agent away.
            return Files("bad", f"{name}: {error}")

    def _teller(
        self, key: Key, looked: _Looked, loop: asyncio.AbstractEventLoop, state: Literal["fetching", "verifying"]
    ) -> Progress:
        told = 0.0

        def tell(done: int, total: int) -> None:
            nonlocal told
            self._progressed = time.monotonic()
            if self._closed.is_set() or self._looked.get(key) is not looked:
                raise _Stopped
            if state == "fetching" and done > looked.most:
                # A line that breaks now and then still gets somewhere: that is no reason to wait ever longer.
                looked.most, looked.tries = done, 0
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                loop.call_soon_threadsafe(self._tell, looked, Files(state, done=done, total=total))

        return tell

    def _tell(self, looked: _Looked, files: Files) -> None:
        if looked.files.state in _LOOKING:
            looked.files = files
            self._changed()

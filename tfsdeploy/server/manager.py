"""Which versions are in memory: aspired ones in, loads and unloads out (core/aspired_versions_manager)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tfsdeploy.protocol.rest import StatusRow
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import text_file
from tfsdeploy.server.flags import say
from tfsdeploy.server.policy import Snapshot, State, Work, next_action, postponed

MOST_THREADS = 1024  # they begin when they are needed

MOST_ENDED = 1000
"""Versions of a model that are told as END; the original tells every one that there ever was."""


class Closable(Protocol):
    """What is held in memory for a version."""

    def close(self) -> None:
        """Give the memory back."""


Servable = TypeVar("Servable", bound=Closable)


@dataclass(slots=True)
class _Version(Generic[Servable]):
    model: str
    version: int
    path: str
    state: State = State.START
    aspired: bool = True
    error: Failed | None = None
    servable: Servable | None = None
    users: int = 0
    failed_at: float | None = None
    failed: bool = False

    def ended(self, error: Failed) -> None:
        self.state, self.error, self.failed_at = State.END, error, time.monotonic()

    def told(self) -> StatusRow:
        if self.error is None:
            return StatusRow(self.version, self.state)
        return StatusRow(self.version, self.state, self.error.code, self.error.message)


class Handle(Generic[Servable]):
    """A version in use, as ``with manager.handle(…) as (version, servable)``."""

    __slots__ = ("_asked", "_held", "_manager")

    def __init__(self, manager: Manager[Servable], model_name: str, version: int | None) -> None:
        self._manager = manager
        self._asked = (model_name, version)
        self._held: _Version[Servable]

    def __enter__(self) -> tuple[int, Servable]:
        self._held = held = self._manager.hold(*self._asked)
        assert held.servable is not None
        return held.version, held.servable

    def __exit__(self, *_: object) -> None:
        self._manager.release(self._held)


class Manager(Generic[Servable]):
    """Loads and unloads in the background while requests go on.

    Args:
        load: makes a servable of a version's path; raises `Failed`, or OSError for a folder that cannot be looked into:
            the original looks before it tries, and does not try again.
        threads: how many loads run at once; of one model always one at a time.
        unload_threads: how many unloads; None: they share the threads of the loads. One thread for both is the one
            that takes up new lists of versions, too.
        retries: attempts after the first.
        retry_seconds: between two attempts; the thread sleeps meanwhile, as the original's does.
        like_tfs: a version that is wanted again while it leaves waits as in the original, and one that is retried
            keeps its thread.
    """

    def __init__(
        self,
        load: Callable[[str], Servable],
        *,
        threads: int,
        unload_threads: int | None = None,
        retries: int = 0,
        retry_seconds: float = 0.0,
        like_tfs: bool = False,
    ) -> None:
        self._open = load
        self._threads = (threads, unload_threads)
        self._retries = retries
        self._retry_seconds = retry_seconds
        self._like_tfs = like_tfs
        self._changed = threading.Condition()
        # Those that are wanted, or still there; what is over is only told.
        self._versions: dict[str, dict[int, _Version[Servable]]] = {}
        self._ended: dict[str, dict[int, StatusRow]] = {}
        self._wanted: dict[str, Mapping[int, str]] = {}
        self._pending: dict[str, Mapping[int, str]] = {}
        self._busy: dict[str, tuple[Work, _Version[Servable]]] = {}
        self._no_thread = False
        self._resting = 0
        self._due: dict[Work, dict[str, int]] = {"unload": {}, "load": {}}
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="manager")

    def aspire(self, models: Mapping[str, Mapping[int, str]]) -> None:
        """State the whole list of versions (number -> path) that each named model should have.

        A version that is wanted again while it is unloaded is first unloaded altogether, then loaded anew. A list that
        is as it was costs a comparison, and holds nobody up; only where no thread was to be had is it tried again.
        """
        if not self._no_thread and all(self._wanted.get(name) == wanted for name, wanted in models.items()):
            return
        with self._changed:
            for name, wanted in models.items():
                if self._wanted.get(name) != wanted:
                    self._wanted[name] = self._pending[name] = wanted
            self._advance()

    def use_threads(self, threads: int, unload_threads: int | None = None) -> None:
        """Change how many loads and unloads run at once; the original starts with more than it goes on with."""
        with self._changed:
            self._threads = (threads, unload_threads)
            self._advance()

    def retry_failed(self, seconds: float) -> None:
        """Load anew, from where it is wanted now, what failed so long ago; the original never does.

        Args:
            seconds: since the last attempt ended.
        """
        before = time.monotonic() - seconds

        def due(row: _Version[Servable]) -> bool:
            return row.aspired and row.failed_at is not None and row.failed_at <= before

        failed = [row for row in self._rows() if due(row)]
        if not failed:
            return
        with self._changed:
            for row in failed:
                if due(row) and self._versions[row.model].get(row.version) is row:
                    path = self._wanted.get(row.model, {}).get(row.version, row.path)
                    self._versions[row.model][row.version] = _Version(row.model, row.version, path)
                    self._consider(row.model)
            self._advance()

    def models(self) -> set[str]:
        """The names of the models that should have a version; holds nobody up."""
        return {name for name, wanted in list(self._wanted.items()) if wanted}

    def there(self) -> list[tuple[str, int, str]]:
        """Model, number and path of each version that is wanted or not yet gone; holds nobody up."""
        return [(row.model, row.version, row.path) for row in self._rows()]

    def aspired(self, model_name: str) -> frozenset[int]:
        """The versions that a model should have."""
        with self._changed:
            if model_name in self._pending:
                return frozenset(self._pending[model_name])
            return frozenset(v.version for v in self._versions.get(model_name, {}).values() if v.aspired)

    def tried(self, model_name: str) -> bool:
        """Whether each version that a model should have was loaded, or tried in vain at least once."""
        with self._changed:
            rows = [row for row in self._versions.get(model_name, {}).values() if row.aspired]
            return all(row.failed for row in rows if row.state in (State.START, State.LOADING))

    def idle(self) -> bool:
        """Whether nothing is loaded, retried or unloaded now."""
        with self._changed:
            return not self._busy and not any(row.state is State.LOADING for row in self._rows())

    def status(self, model_name: str) -> tuple[StatusRow, ...]:
        """The versions of one model, highest first, with the last `MOST_ENDED` of those that are over."""
        with self._changed:
            rows = [row.told() for row in self._versions.get(model_name, {}).values()]
            rows += self._ended.get(model_name, {}).values()
        return tuple(sorted(rows, key=lambda row: -row.version))

    def wait(self, done: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until ``done``, which may call `status`; False when the time is over or the manager closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set() or done(), seconds)
            return not self._closing.is_set() and done()

    def handle(self, model_name: str, version: int | None) -> Handle[Servable]:
        """Hold a version for a request: it is not unloaded while the handle is entered.

        Args:
            model_name: the model.
            version: that one exactly; None for the highest that is ready.

        Raises:
            Failed: NOT_FOUND; on entering.
        """
        return Handle(self, model_name, version)

    def hold(self, model_name: str, version: int | None) -> _Version[Servable]:
        """For `Handle`: one more user of a version."""
        with self._changed:
            versions = self._versions.get(model_name, {})
            if version is None:
                version = max((v.version for v in versions.values() if v.state is State.AVAILABLE), default=None)
                which = f"Latest({model_name})"
            else:
                which = f"Specific({model_name}, {version})"
            held = None if version is None else versions.get(version)
            if held is None or held.state is not State.AVAILABLE:
                raise Failed("NOT_FOUND", f"Servable not found for request: {which}")
            held.users += 1
            return held

    def release(self, held: _Version[Servable]) -> None:
        """For `Handle`: one user less."""
        with self._changed:
            held.users -= 1
            if held.state is not State.AVAILABLE:  # who unloads it waits for that
                self._changed.notify_all()

    def close(self) -> None:
        """End: loads that have not begun do not begin."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _rows(self) -> Iterator[_Version[Servable]]:
        """The rows of all models; without the lock they may be of different moments."""
        for versions in list(self._versions.values()):
            yield from list(versions.values())

    def _advance(self) -> None:
        """Start everything that may start now, unloads first; with the lock held."""
        if not self._held_up:
            for model_name in sorted(self._pending):
                self._take_pending(model_name)
        for what, due in self._due.items():
            while due and not self._closing.is_set() and self._has_thread(what):
                model_name = min(due)
                if not self._begin(self._versions[model_name][due[model_name]], what):
                    break
        self._changed.notify_all()

    def _consider(self, model_name: str) -> None:
        """Note what is to be done for a model of which something has changed; with the lock held."""
        for due in self._due.values():
            due.pop(model_name, None)
        if model_name not in self._busy and (action := next_action(self._snapshots(model_name))) is not None:
            self._due[action.what][model_name] = action.version

    @property
    def _held_up(self) -> bool:
        """Whether the one thread that does everything is at work: then no new list is taken up, either."""
        return self._alone and bool(self._busy)

    @property
    def _alone(self) -> bool:
        return self._threads == (1, None)

    def _has_thread(self, what: Work) -> bool:
        loads, unloads = self._threads
        if unloads is None:
            return len(self._busy) + self._resting < loads
        busy = sum(other == what for other, _ in self._busy.values())
        return busy < unloads if what == "unload" else busy + self._resting < loads

    def _snapshots(self, model_name: str) -> list[Snapshot]:
        return [Snapshot(v.version, v.state, v.aspired) for v in self._versions.get(model_name, {}).values()]

    def _take_pending(self, model_name: str) -> None:
        wanted = self._pending[model_name]
        if postponed(self._snapshots(model_name), wanted.keys(), like_tfs=self._like_tfs):
            return
        del self._pending[model_name]
        versions = self._versions.setdefault(model_name, {})
        for row in list(versions.values()):
            row.aspired = row.version in wanted and (row.aspired or row.state is not State.END)
            if not row.aspired and row.state is State.START:
                row.state = State.END
            self._put_away(row)
        for number, path in wanted.items():
            if number not in versions:
                self._ended.get(model_name, {}).pop(number, None)
                versions[number] = _Version(model_name, number, path)
        self._consider(model_name)

    def _put_away(self, row: _Version[Servable]) -> None:
        """Of a version that is over only what is told of it stays; with the lock held."""
        versions = self._versions[row.model]
        if row.aspired or row.state is not State.END or versions.get(row.version) is not row:
            return
        del versions[row.version]
        ended = self._ended.setdefault(row.model, {})
        ended[row.version] = row.told()
        if len(ended) > MOST_ENDED:
            del ended[next(iter(ended))]

    def _begin(self, version: _Version[Servable], what: Work) -> bool:
        """Whether a thread was to be had for it; if not, it is due as before."""
        before, version.state = version.state, State.LOADING if what == "load" else State.UNLOADING
        task = self._busy[version.model] = what, version
        try:
            self._pool.submit(self._guarded, task)
        except RuntimeError as error:  # the system gives no more threads
            del self._busy[version.model]
            version.state = before
            if not self._no_thread:
                say(f"{version.model}/{version.version} has to wait with its {what}: {error}", "ERROR")
            self._no_thread = True
        else:
            self._no_thread = False
        self._consider(version.model)
        return not self._no_thread

    def _guarded(self, task: tuple[Work, _Version[Servable]]) -> None:
        what, version = task
        with self._changed:
            if self._busy.get(version.model) is not task:
                return  # there was no thread for it when it was begun, but its pool has kept it
        try:
            if what == "load":
                self._load(version)
            else:
                self._unload(version)
        except Exception as error:  # a thread that dies silently would hold its model for ever
            say(f"{version.model}/{version.version}: {type(error).__name__}: {error}", "ERROR")
            with self._changed:
                version.ended(Failed("INTERNAL", f"{type(error).__name__}: {error}"))
        with self._changed:
            self._done(version)

    def _load(self, version: _Version[Servable]) -> None:
        name = f"{{name: {version.model} version: {version.version}}}"
        say(f"Loading servable: {name}")
        error: Failed | None = None
        for attempt in range(max(0, self._retries) + 1):
            if (attempt and not self._rested(version)) or self._cancelled(version):
                return
            try:
                version.servable, error = self._open(version.path), None
                break
            except (Failed, OSError) as failed:
                # Not the exception itself: that holds what it was raised in, and so the model, while its row lives.
                error = _told(failed, name, version.path)
                say(f"Loading servable: {name} failed: {error.code}: {error.message}", "ERROR")
                if isinstance(failed, NotADirectoryError) or (self._like_tfs and isinstance(failed, OSError)):
                    break
                with self._changed:
                    version.failed = True
                    self._changed.notify_all()
        with self._changed:
            if error is not None:
                version.ended(error)
                return
            version.state = State.AVAILABLE
        say(f"Successfully loaded servable version {name}")

    def _cancelled(self, version: _Version[Servable]) -> bool:
        """Whether nobody wants a version that loads any more; then it is over before anybody can want it again."""
        with self._changed:
            if not version.aspired:
                version.ended(Failed("CANCELLED", "Loading of servable cancelled"))
            return not version.aspired

    def _done(self, version: _Version[Servable]) -> None:
        """Let what waits for a version's work begin; with the lock held."""
        if version.model in self._busy and self._busy[version.model][1] is version:
            del self._busy[version.model]
        self._put_away(version)
        self._consider(version.model)
        self._advance()

    def _rested(self, version: _Version[Servable]) -> bool:
        """Wait between two attempts, here unless nobody wants the version any more; False: there is no next one.

        Other versions of the model are loaded and unloaded meanwhile, but by one thread for all there is none for them;
        nor, in the original, is there this one.
        """
        if self._alone:
            return not self._closing.wait(self._retry_seconds)
        kept = 1 if self._like_tfs else 0
        with self._changed:
            self._resting += kept
            self._done(version)
            self._changed.wait_for(
                lambda: self._closing.is_set() or not (version.aspired or self._like_tfs), self._retry_seconds
            )
            if not self._cancelled(version):
                self._changed.wait_for(
                    lambda: (
                        self._closing.is_set()
                        or (version.model not in self._busy and (bool(kept) or self._has_thread("load")))
                    )
                )
                self._busy[version.model] = "load", version
                self._consider(version.model)
            self._resting -= kept
            return version.state is not State.END and not self._closing.is_set()

    def _unload(self, version: _Version[Servable]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: version.users == 0)
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        with self._changed:
            version.state = State.END
        say(f"Done unloading servable version {{name: {version.model} version: {version.version}}}")


def _told(failed: Failed | OSError, name: str, path: str) -> Failed:
    if isinstance(failed, Failed):
        return Failed(failed.code, failed.message)
    told = text_file.failed(path, failed)
    return Failed(told.code, f"Error while attempting to reserve resources to load servable {name}: {told.message}")

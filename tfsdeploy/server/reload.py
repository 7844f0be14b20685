"""Keep what is aspired as configuration and folders say: at once, or at the original's pace (`--like-tfs`)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType

from tfsdeploy.protocol.model_config import ModelConfig, Specific
from tfsdeploy.protocol.rest import StatusRow
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import config, source
from tfsdeploy.server.core import Core
from tfsdeploy.server.flags import Flags, Severity, say
from tfsdeploy.server.policy import State

LOOK_SECONDS = 0.025
"""How often the configuration file is looked at: a stat. The original reads it anew at its polls only."""

ANSWER_SECONDS = 0.1
"""How long after the answer to a reload its models change: as long as a turn of the original's manager."""

SCAN_SECONDS = 0.25
"""How often the folders are looked at, unless ``--file_system_poll_wait_seconds`` asks for less."""

SCAN_SHARE = 0.02
"""Of the time, for looking at the folders; where that takes longer, they are looked at as seldom as the flag says."""

NEVER_LOOKED = "No folder is looked at: --file_system_poll_wait_seconds is below 0"


class Reloader:
    """Applies configurations and scans folders.

    Args:
        core: the models.
        flags: intervals, and whether to be like the original.
    """

    def __init__(self, core: Core, flags: Flags) -> None:
        self._core = core
        self._flags = flags
        self._models: tuple[ModelConfig, ...] = ()
        self._applying = threading.Lock()
        self._scanning = threading.Lock()
        self._stopping = threading.Event()
        self._configured = threading.Event()
        self._told: dict[str, str] = {}
        self._scan_took = 0.0
        self._seen: tuple[int, int, int] | None = None
        core.reload = self._answer

    def start(self) -> None:
        """Read the configuration for the first time, and keep to it from then on.

        Like the original it then blocks, without a limit, until every model has a version that is AVAILABLE or END, and
        no other version is about to be.

        Raises:
            Failed: the configuration is wrong; like the original also when a version failed to load.
        """
        flags = self._flags
        self._seen = _identity(flags.model_config_file)
        models = config.read(flags.model_config_file, first=True) if flags.model_config_file else config.single(flags)
        if flags.like_tfs:
            self._background(self._scan_for_ever)
            self.apply(models, first=True)
            # The original gives up its many threads of the start when the last of them has done its load.
            self._core.manager.wait(self._core.manager.idle)
            if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
                self._background(self._poll_config)
        else:
            self.apply(models)
            if self._scan_seconds or self._looks or flags.retry_failed_seconds > 0:
                self._background(self._watch)

    @property
    def _scan_seconds(self) -> float:
        """Between two looks at the folders; 0: only one, with each configuration."""
        return between_scans(self._flags.file_system_poll_wait_seconds, self._scan_took)

    @property
    def _looks(self) -> bool:
        """Whether the configuration file is looked at again."""
        return bool(self._flags.model_config_file) and self._flags.model_config_file_poll_wait_seconds > 0

    def stop(self) -> None:
        """End the threads that look."""
        self._stopping.set()

    def first_loads(self) -> None:
        """Wait until each version of each model was loaded or tried in vain, as far as there are any."""
        for model in self._models:
            self._core.manager.wait(partial(self._core.manager.tried, model.name))

    def _answer(self, models: tuple[ModelConfig, ...]) -> None:
        """What HandleReloadConfigRequest does: apply, and wait for model names that are new.

        Like the original it is over before anything happens to the models that were there. That one waits for a folder
        without versions, too, for ever, and holds every other reload meanwhile.

        Raises:
            Failed: as `apply`; or a new model has no version, or none that could be loaded.
        """
        if self._flags.like_tfs:
            self.apply(models)
            return
        new = self.apply(models, only_new=True)
        if self._flags.file_system_poll_wait_seconds >= 0:
            self._after_the_answer(self._scan)
        # What has no version, and nothing that keeps it from having one, another reload has dropped meanwhile.
        never = NEVER_LOOKED if self._flags.file_system_poll_wait_seconds < 0 else ""
        without = [name for name in new if not self._core.manager.aspired(name)]
        missing = {name: reason for name in without if (reason := self._told.get(name, never))}
        self._wait_for(new - missing.keys(), "model", missing)

    def apply(self, models: tuple[ModelConfig, ...], *, first: bool = False, only_new: bool = False) -> set[str]:
        """Make a configuration the one in force.

        Labels come first and refuse it as a whole. Like the original it then waits for model names that are new, and
        holds every other reload meanwhile; otherwise it returns at once.

        Args:
            models: all of them.
            first: it is the first one.
            only_new: look at the folders of new models alone for now.

        Returns:
            The model names that are new.

        Raises:
            Failed: the labels are refused, or a new model failed to load; what was applied stays.
        """
        with self._applying:
            manager = self._core.manager
            available = {
                model.name: {row.version for row in manager.status(model.name) if row.state == State.AVAILABLE}
                for model in models
                if model.labels
            }
            self._core.labels = config.check_labels(
                models,
                available,
                self._core.labels or {},
                new_anywhere=self._flags.allow_version_labels_for_unavailable_models,
            )
            new = {model.name for model in models} - {model.name for model in self._models}
            self._models = models
            self._configured.set()
            self._core.served = frozenset(model.name for model in models)
            self._core.unready = self._unready
            if self._flags.like_tfs:
                self._after_the_answer(self._unload_others_after_a_scan)
                self._wait_for(new, "servable" if first else "model")
            elif self._flags.file_system_poll_wait_seconds >= 0:
                self._scan(new if only_new else None)
            return new

    def _unready(self) -> list[str]:
        """What of the configuration is not AVAILABLE: a line for each version, or for a model without any."""
        manager = self._core.manager
        return [
            line
            for model in self._models
            for line in unready(model, manager.aspired(model.name), manager.status(model.name))
        ]

    def _wait_for(self, names: set[str], noun: str, missing: Mapping[str, str] = MappingProxyType({})) -> None:
        """Wait until each model has a version that is AVAILABLE or has failed; tell those, and what has none."""
        manager = self._core.manager
        # By another reload, or by its folder; the original lets no other reload begin, and waits for versions.
        dropped = not self._flags.like_tfs

        def settled(name: str) -> bool:
            # Rows of an earlier life of the same name say nothing about this one.
            aspired = manager.aspired(name)
            return any(
                row.version in aspired and row.state in (State.AVAILABLE, State.END) for row in manager.status(name)
            ) or (dropped and not aspired)

        if not all(manager.wait(partial(settled, name)) for name in sorted(names)):
            return
        failed = [
            f"{{{{name: {name} version: {row.version}}} due to error: {row.code}: {row.message}}}, "
            for name in sorted(names)
            for row in _failed(manager.status(name))
            if row.version in manager.aspired(name)
        ] + [f"{{{{name: {name}}} due to error: NOT_FOUND: {missing[name]}}}, " for name in sorted(missing)]
        if failed:
            raise Failed("UNKNOWN", f"{len(failed)} {noun}(s) did not become available: {{{''.join(failed)}}}")

    def _unload_others(self) -> None:
        manager = self._core.manager
        manager.aspire({name: {} for name in manager.models() - {model.name for model in self._models}})

    def _unload_others_after_a_scan(self) -> None:
        """Like the original not in the middle of one: it would want again what it began with."""
        with self._scanning:
            self._unload_others()

    def _scan(self, names: Collection[str] | None = None) -> None:
        """Look at the folders of all models, or of some."""
        with self._scanning:
            models = self._models if names is None else tuple(m for m in self._models if m.name in names)
            if self._flags.like_tfs:
                self._scan_as_one(models)
                return
            if names is None:
                self._unload_others()
            begun = time.monotonic()
            for model in models:
                self._scan_alone(model)
            if names is None:
                self._scan_took = time.monotonic() - begun

    def _scan_alone(self, model: ModelConfig) -> None:
        """What is wrong with one model's folder is nothing to the others."""
        manager = self._core.manager
        try:
            there = source.versions_of(model)
        except source.StorageAway as away:
            self._tell(model.name, str(away))
            return
        self._tell(model.name, "" if there else _nothing_in(model), "WARNING")
        if self._flags.keep_missing and source.may_miss(model, there):
            loaded = frozenset(row.version for row in manager.status(model.name) if row.state == State.AVAILABLE)
            there = source.kept(model, there, loaded)
        manager.aspire({model.name: there})

    def _scan_as_one(self, models: tuple[ModelConfig, ...]) -> None:
        """One base path that is away suspends all models, as in the original."""
        try:
            found = source.scan(models)
        except source.StorageAway as away:
            say(f"FileSystemStoragePathSource encountered a filesystem access error: {away}", "ERROR")
            return
        for model in models:
            if not found[model.name]:
                say(_nothing_in(model), "WARNING")
        self._core.manager.aspire(found)

    def _tell(self, model_name: str, line: str, severity: Severity = "ERROR") -> None:
        """What is wrong with a model's folder, or with the configuration: once, not four times a second."""
        if line and (self._flags.like_tfs or line != self._told.get(model_name, "")):
            say(line, severity)
        if line:
            self._told[model_name] = line
        else:
            self._told.pop(model_name, None)

    def _watch(self) -> None:
        """The configuration file by its stat, the folders every moment, what failed when its time has come."""
        file = self._flags.model_config_file
        # As it was before the start read it: it may have been replaced since.
        seen = self._seen
        settled = True
        scanned = tried = retried = time.monotonic()
        while not self._stopping.wait(LOOK_SECONDS):
            now = time.monotonic()
            found = _identity(file) if self._looks else seen
            with self._going_on():
                if found != seen or (not settled and now - tried >= SCAN_SECONDS):
                    # One that was refused is tried again: its labels may wait for versions that come by themselves.
                    seen, scanned, tried, settled = found, now, now, False
                    settled = self._reread()
                elif self._scan_seconds and now - scanned >= self._scan_seconds:
                    scanned = now
                    self._scan()
            if self._flags.retry_failed_seconds > 0 and now - retried >= SCAN_SECONDS:
                retried = now
                with self._going_on():
                    self._core.manager.retry_failed(self._flags.retry_failed_seconds)

    def _poll_config(self) -> None:
        while not self._stopping.wait(self._flags.model_config_file_poll_wait_seconds):
            with self._going_on():
                self._reread()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Whatever it raises, there is a next time: a thread that ends would see no change any more."""
        try:
            yield
        except Exception as error:
            self._tell("", f"Following configuration and folders goes on after {type(error).__name__}: {error}")

    def _reread(self) -> bool:
        """Whether there is nothing to try again until the file changes."""
        try:
            read = partial(config.read, self._flags.model_config_file, served=self._core.served)
            self.apply(self._core.judged(read))
        except Failed as failed:
            self._tell("", f"Failed to read ModelServerConfig file: {failed.code}: {failed.message}")
            return failed.code == "INVALID_ARGUMENT"
        self._tell("", "")
        return True

    def _scan_for_ever(self) -> None:
        interval = self._flags.file_system_poll_wait_seconds
        if interval < 0:
            return
        # The first scan of the original comes with the first configuration, so no interval passes before it; with an
        # interval of 0 there is no other.
        self._configured.wait()
        self._stopping.wait(0.05)
        with self._going_on():
            self._scan()
        while interval > 0 and not self._stopping.wait(interval):
            with self._going_on():
                self._scan()

    def _after_the_answer(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            with self._going_on():
                work()

        later = threading.Timer(ANSWER_SECONDS, guarded)
        later.daemon = True
        later.start()

    def _background(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=work.__name__, daemon=True).start()


def between_scans(interval: float, took: float) -> float:
    """Seconds from one look at the folders to the next.

    Args:
        interval: ``--file_system_poll_wait_seconds``; its default is taken for "soon".
        took: seconds that the last look took.

    Returns:
        0: there is no next one.
    """
    return min(1.0, max(SCAN_SECONDS, took / SCAN_SHARE)) if interval == 1 else max(0.0, interval)


def unready(model: ModelConfig, aspired: frozenset[int], rows: tuple[StatusRow, ...]) -> list[str]:
    """What keeps a model from being ready, a line each.

    Args:
        model: its configuration.
        aspired: the versions that were found for it.
        rows: the states of all that it ever had.
    """
    states = {row.version: row.state for row in rows}
    wanted = aspired | frozenset(model.policy.versions if isinstance(model.policy, Specific) else ())
    if not wanted:
        return [f"{model.name}: no version"]
    return [
        f"{model.name}/{version}: {states.get(version, 'not there')}"
        for version in sorted(wanted)
        if states.get(version) != State.AVAILABLE
    ]


def _failed(rows: tuple[StatusRow, ...]) -> list[StatusRow]:
    """The failed versions of a model, if it has none that is AVAILABLE."""
    if any(row.state == State.AVAILABLE for row in rows):
        return []
    return [row for row in rows if row.state == State.END and row.code != "OK"]


def _nothing_in(model: ModelConfig) -> str:
    return (
        f"No versions of servable {model.name} found under base path {model.base_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )


def _identity(file: str) -> tuple[int, int, int] | None:
    """What changes whenever a file is written or replaced."""
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size

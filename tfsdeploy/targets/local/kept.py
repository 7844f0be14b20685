"""One process that is kept running, and one unit of them: start, restart with backoff, planned stop."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tfsdeploy.processes import Identity, identity
from tfsdeploy.targets.local.credentials import for_process
from tfsdeploy.targets.local.process import MARK, Handle
from tfsdeploy.targets.local.units import Leaving, ProcessSeen, ProcessSpec, UnitSeen, UnitSpec

BACKOFF_BASE = 0.5
BACKOFF_LIMIT = 30.0

HEALTHY_SECONDS = 10.0
"""A process that ran for so long is well: its next failure counts as the first again."""

NOW_SECONDS = 3.0
"""How long a process may take to end when its unit leaves without a drain."""


def backoff(failures: int, first: float) -> float:
    """Seconds to wait before the next start.

    Args:
        failures: how often in a row the process ended soon, at least 1.
        first: the delay after the first failure; no later one is shorter.
    """
    if failures <= 1:
        return first
    # The exponent is bounded: a float has no room for a process that failed for a week.
    return max(first, min(BACKOFF_LIMIT, BACKOFF_BASE * 2.0 ** min(failures - 2, 10)))


class Kept:
    """One process; times are the supervisor's monotonic seconds."""

    def __init__(
        self, spec: ProcessSpec, mark: str, env: Mapping[str, str], adopted: Handle | None, now: float
    ) -> None:
        self.spec = spec
        self._env = {**env, **spec.env, MARK: mark}
        self._handle = adopted
        self._child: subprocess.Popen[bytes] | None = None
        self._started = now
        self._failures = 0
        self._restarts = 0
        self._starts = 1 if adopted else 0
        self._last_exit: str | None = None
        self._due = now
        self._kill_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether it runs, as far as `notice` has seen."""
        return self._handle is not None

    @property
    def descriptor(self) -> int | None:
        """What becomes readable when it ends; None unless it runs."""
        return self._handle.descriptor if self._handle else None

    def notice(self, now: float) -> None:
        """See whether it has ended, and when it may start again."""
        if self._handle is None or not self._handle.ended():
            return
        self._handle.close()
        self._handle = None
        self._last_exit = _in_words(self._child.wait()) if self._child else "ended while nobody watched"
        self._child = None
        self._failed(now)

    def keep(self, now: float) -> None:
        """Start it if it should run and does not."""
        if self._handle is None and now >= self._due and self._gate_is_open():
            self._start(now)

    def stop(self, now: float, seconds: float) -> None:
        """Ask it to end; make it end when ``seconds`` have passed since it was asked, the fewest that were named."""
        if self._handle is None:
            return
        if self._kill_at is None:
            self._handle.send(signal.SIGTERM)
        self._kill_at = min(self._kill_at or now + seconds, now + seconds)
        if now >= self._kill_at:
            self._handle.send(signal.SIGKILL)

    def close_gate(self) -> None:
        """Forget the gate file of an earlier life, so that the process waits for what its agent writes now."""
        if self.spec.gate is not None:
            Path(self.spec.gate).unlink(missing_ok=True)

    def seen(self, leaving: Leaving | None) -> ProcessSeen:
        """What there is to tell of it."""
        if self._handle is not None:
            return ProcessSeen("running", self._handle.process, self._restarts, self._last_exit)
        if leaving is not None:
            return ProcessSeen("ended", None, self._restarts, self._last_exit)
        return ProcessSeen("backoff" if self._failures else "gated", None, self._restarts, self._last_exit)

    def _gate_is_open(self) -> bool:
        return self.spec.gate is None or Path(self.spec.gate).exists()

    def _start(self, now: float) -> None:
        self._started = now
        self._restarts += 1 if self._starts else 0
        self._starts += 1
        try:
            Path(self.spec.cwd).mkdir(parents=True, exist_ok=True)
            Path(self.spec.log).parent.mkdir(parents=True, exist_ok=True)
            log = os.open(self.spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                self._child = subprocess.Popen(
                    self.spec.argv,
                    env=self._env,
                    cwd=self.spec.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            finally:
                os.close(log)
        except OSError as error:
            self._last_exit = f"cannot start: {error}"
            self._failed(now)
            return
        # A child that nobody has waited for keeps its number, so this one is certainly it.
        who = identity(self._child.pid) or Identity(self._child.pid, 0)
        self._handle = Handle(who, os.pidfd_open(self._child.pid))

    def _failed(self, now: float) -> None:
        lived = now - self._started
        self._failures = 1 if lived >= HEALTHY_SECONDS else self._failures + 1
        self._due = now + backoff(self._failures, self.spec.first_restart)


class KeptUnit:
    """One unit: its processes run while it is wanted, and leave in order when it is not.

    Args:
        spec: what it is.
        folder: the fleet's folder, for the marks.
        env: the environment that the processes get; credentials reach the agents alone.
        adopted: processes of it that run already, by name.
        now: the present moment.
    """

    def __init__(
        self, spec: UnitSpec, folder: Path, env: Mapping[str, str], adopted: Mapping[str, Handle], now: float
    ) -> None:
        self.spec = spec
        self.processes = [
            Kept(one, f"{folder}/{spec.name}/{one.name}", for_process(one.name, env), adopted.get(one.name), now)
            for one in spec.processes
        ]
        if not adopted:
            for process in self.processes:
                process.close_gate()

    @property
    def gone(self) -> bool:
        """Whether it left and nothing of it runs."""
        return self.spec.leaving is not None and not any(process.running for process in self.processes)

    @property
    def moving(self) -> bool:
        """Whether something is about to happen that no pidfd tells."""
        return not self.gone and (self.spec.leaving is not None or not all(p.running for p in self.processes))

    def leave(self, how: Leaving) -> None:
        """It is not wanted any more; ``now`` overrules ``drain``."""
        if self.spec.leaving != "now":
            self.spec = replace(self.spec, leaving=how)

    def step(self, now: float) -> None:
        """Do what this moment asks for."""
        for process in self.processes:
            process.notice(now)
        if self.spec.leaving is None:
            for process in self.processes:
                process.keep(now)
            return
        for process in self.processes:
            if self.spec.leaving == "now":
                process.stop(now, NOW_SECONDS)
            elif process.running:
                process.stop(now, process.spec.stop_seconds)
                return

    def seen(self) -> UnitSeen:
        """What there is to tell of it."""
        leaving = self.spec.leaving
        return UnitSeen(leaving, self.gone, {p.spec.name: p.seen(leaving) for p in self.processes})


def _in_words(code: int) -> str:
    return f"exit {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

"""The replica agent: watch the release, keep the model server's configuration, tell what is true."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.agent.replica import memory as kept
from tfsdeploy.agent.replica.decide import Decision, Moment, decide, died
from tfsdeploy.agent.replica.files import VersionFiles
from tfsdeploy.agent.replica.leaving import Acknowledgements
from tfsdeploy.agent.replica.memory import Key, Memory
from tfsdeploy.agent.replica.metrics import Metrics
from tfsdeploy.agent.replica.server import ModelServer
from tfsdeploy.agent.sources import ReleaseSource
from tfsdeploy.agent.status import StatusServer
from tfsdeploy.protocol.agents import LEASE_SECONDS, ReplicaStatus, State, encode
from tfsdeploy.protocol.model_config import ModelConfig, Specific, render
from tfsdeploy.protocol.rest import StatusRow
from tfsdeploy.release.disk import write_atomically
from tfsdeploy.release.model import InvalidRelease, Release, decode
from tfsdeploy.release.model import encode as encode_release
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.verify import VerifiedCache

log = logging.getLogger(__name__)

MOVING_SECONDS = 0.05
"""How often the server is asked while something is expected to change."""

RESTING_SECONDS = 1.0

STALE_SECONDS = 5.0
"""A load that failed again before it was seen to begin is told by its END row staying for so long."""

START_OVER_SECONDS = 90.0
"""A server that has not come up for so long is to start with nothing: what it was to load may be what ends it."""

MODELS = "models.config"
MEMORY = "state.json"
LAST_GOOD = "release.json"

REPLICA = "replica"
"""What is on its way out when the whole replica leaves."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one replica agent is told.

    Attributes:
        name: of the replica.
        fleet: whose release it follows.
        folder: its own; ``models.config`` stands there.
        server_rest: ``host:port`` of the model server's REST API, as the agent reaches it.
        rest: the same as gateways reach it.
        grpc: the gRPC API as gateways reach it.
        listen: ``host:port`` of the status server.
        drain_seconds: how long requests in flight may take after the last gateway has acknowledged.
        lease_seconds: how long a gateway that polled is waited for.
    """

    name: str
    fleet: str
    folder: Path
    server_rest: str
    rest: str
    grpc: str
    listen: str
    drain_seconds: float = 1.0
    lease_seconds: float = LEASE_SECONDS


class ReplicaAgent:
    """One replica's agent; constructing it touches nothing.

    Args:
        settings: what it is told.
        releases: what is wanted.
        store: where the models are.
        cache: what was verified on this machine already.
    """

    def __init__(
        self, settings: Settings, releases: ReleaseSource, store: FileStore, cache: VerifiedCache | None
    ) -> None:
        self._settings = settings
        self._releases = releases
        self._store = store
        self._metrics = Metrics()
        self._wake = asyncio.Event()
        self._files = VersionFiles(store, cache, self._wake.set)
        self._server = ModelServer(settings.server_rest)
        self._uses = Acknowledgements(time.monotonic, settings.lease_seconds, settings.drain_seconds)
        self._release: Release | None = None
        self._memory = Memory()
        self._rows: dict[str, tuple[StatusRow, ...]] | None = None
        self._decision = Decision(Memory())
        self._since_stale: dict[Key, float] = {}
        self._down_since = time.monotonic()
        self._written: str | None = None
        self._asked = 0.0
        self._turn = 0
        self._leaving = False

    async def run(self, leave: asyncio.Event) -> None:
        """Work until asked to leave, and then until every gateway has let go of the replica.

        Args:
            leave: set when the replica is to go.

        Raises:
            TfsdeployError: the status server cannot listen.
        """
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        self._memory = kept.read(self._settings.folder / MEMORY)
        self._release = self._last_good()
        self._status = StatusServer(
            self._settings.listen, ready=lambda: self._decision.ready, metrics=self._metrics.page, on_poll=self._heard
        )
        follow = asyncio.create_task(self._follow_release())
        listening = False
        try:
            while not (self._leaving and REPLICA in self._uses.drained()):
                if leave.is_set() and not self._leaving:
                    log.info("leaving")
                    self._leaving = True
                if await self._step() and not listening:
                    # Not before it is known what is true: an agent that restarts never shows an emptier state.
                    await self._status.start()
                    listening = True
                if self._leaving and not listening:
                    break
                await self._rest(leave)
                if follow.done():
                    follow.result()
        finally:
            follow.cancel()
            await self._files.close()
            await self._status.close()
            await self._server.close()

    async def _step(self) -> bool:
        """Look, decide, act; whether what is published is true."""
        if self._release is None:
            return False
        wanted = _wanted(self._release)
        self._files.want(wanted)
        await self._look(wanted)
        if self._written is None and not self._may_begin(wanted):
            return False
        self._decision = decide(self._moment(wanted))
        self._keep(self._decision.memory)
        self._configure()
        self._publish()
        return True

    def _may_begin(self, wanted: dict[Key, str | None]) -> bool:
        """The first configuration waits until the files were looked at, unless a server is serving already."""
        return self._rows is not None or self._files.complete(wanted)

    async def _look(self, wanted: dict[Key, str | None]) -> None:
        """Ask the server, often while something moves; learn that it is gone the moment its connection closes."""
        if not self._server.connected:
            if self._rows is not None:
                await self._lost()
            if not await self._server.connect():
                return
        moving = self._rows is None or self._decision.moving
        if not moving and time.monotonic() - self._asked < RESTING_SECONDS:
            return
        self._asked = time.monotonic()
        names = {model for model, _ in (*wanted, *self._memory.held(), *self._memory.departing)}
        try:
            asked = names if moving else self._one_of(names)
            self._rows = {**(self._rows or {}), **await self._server.rows(sorted(asked))}
        except OSError as error:
            if self._rows is not None:
                log.warning("%s", error)
            await self._server.close()
            await self._lost()

    def _one_of(self, names: set[str]) -> set[str]:
        """At rest one model a second is asked for; the connection tells of everything sudden."""
        self._turn += 1
        return {sorted(names)[self._turn % len(names)]} if names else set()

    async def _lost(self) -> None:
        """The server went away: what it was loading is remembered, and nothing is AVAILABLE."""
        if await self._server.connect():
            return  # it only closed an idle connection
        log.warning("the model server is gone")
        self._metrics.deaths.inc()
        self._memory = died(self._memory, self._rows or {})
        self._rows = None
        self._down_since = time.monotonic()

    def _moment(self, wanted: dict[Key, str | None]) -> Moment:
        now = time.monotonic()
        self._since_stale = {key: self._since_stale.get(key, now) for key in self._memory.stale}
        down = self._rows is None and now - self._down_since > START_OVER_SECONDS
        drained = self._uses.drained()
        return Moment(
            wanted=wanted,
            files=self._files.known(),
            rows=self._rows,
            memory=self._memory,
            drained=frozenset(key for key in self._memory.held() if key in drained),
            start_over=down,
            overdue=frozenset(key for key, since in self._since_stale.items() if now - since > STALE_SECONDS),
        )

    def _keep(self, memory: Memory) -> None:
        if memory == self._memory and self._written is not None:
            return
        self._memory = memory
        try:
            kept.write(self._settings.folder / MEMORY, memory)
        except OSError as error:
            log.error("what is remembered cannot be written: %s", error)

    def _configure(self) -> None:
        """Write ``models.config`` if it is to say something else; the server picks it up by itself."""
        text = render(
            [
                ModelConfig(model, str(self._store.model_path(model)), Specific(versions))
                for model, versions in self._memory.listed.items()
            ]
        )
        if text == self._written:
            return
        try:
            write_atomically(self._settings.folder / MODELS, text)
        except OSError as error:
            log.error("%s cannot be written, and is tried again: %s", MODELS, error)
            return
        self._written = text
        listed = {model: list(versions) for model, versions in self._memory.listed.items()}
        log.info("the model server is to hold %s", listed)

    def _publish(self) -> None:
        settings, decision = self._settings, self._decision
        release = self._release
        assert release is not None
        tag = self._status.publish(
            encode(
                ReplicaStatus(
                    replica=settings.name,
                    generation=release.generation,
                    ready=decision.ready,
                    leaving=self._leaving,
                    rest=settings.rest,
                    grpc=settings.grpc,
                    models=decision.models,
                )
            )
        )
        draining: list[object] = [
            (model, version)
            for model, versions in decision.models.items()
            for version, status in versions.items()
            if status.state is State.DRAINING
        ]
        self._uses.published(tag, [*draining, *([REPLICA] if self._leaving else [])])
        self._metrics.tell(release.generation, self._rows is not None, decision)

    async def _rest(self, leave: asyncio.Event) -> None:
        """Until something happens, or the server is to be asked again."""
        moving = self._decision.moving or self._rows is None or self._leaving
        waits: list[Awaitable[object]] = [self._wake.wait()]
        if not self._leaving:
            waits.append(leave.wait())
        if self._server.connected:
            waits.append(self._server.closed())
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.wait(
            tasks, timeout=MOVING_SECONDS if moving else RESTING_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in tasks:
            task.cancel()
        self._wake.clear()

    async def _follow_release(self) -> None:
        async for found in self._releases.releases():
            if isinstance(found, InvalidRelease):
                self._metrics.invalid_releases.inc()
                log.error("this release is not followed, the last good one stays: %s", found)
            elif found.fleet != self._settings.fleet:
                log.error("this release is of fleet %s and not followed", found.fleet)
            elif found.supersedes(self._release):
                self._release = found
                self._wake.set()
                self._keep_release(found)

    def _keep_release(self, release: Release) -> None:
        try:
            write_atomically(self._settings.folder / LAST_GOOD, encode_release(release))
        except OSError as error:
            log.error("the last good release cannot be written: %s", error)

    def _last_good(self) -> Release | None:
        try:
            return decode((self._settings.folder / LAST_GOOD).read_bytes())
        except (OSError, InvalidRelease):
            return None

    def _heard(self, gateway: str, applied: str) -> None:
        self._uses.heard(gateway, applied)
        self._wake.set()


def _wanted(release: Release) -> dict[Key, str | None]:
    return {
        (name, version): digest
        for name, model in sorted(release.models.items())
        for version, digest in sorted(model.versions.items())
    }

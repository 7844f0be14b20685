"""The replica agent: watch the release, keep the model server's configuration, tell what is true."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfsdeploy.agent.handshake import Handshake
from tfsdeploy.agent.release_page import release_page
from tfsdeploy.agent.replica.announce import announce, retract
from tfsdeploy.agent.replica.decide import Decision, Moment, Rows, arrived, decide, died, lost, recovered
from tfsdeploy.agent.replica.files import VersionFiles
from tfsdeploy.agent.replica.folder import Folder
from tfsdeploy.agent.replica.leaving import Acknowledgements
from tfsdeploy.agent.replica.look import SecondLook, StoreLook, trouble
from tfsdeploy.agent.replica.memory import Key, Memory
from tfsdeploy.agent.replica.metrics import Metrics
from tfsdeploy.agent.replica.server import ATTEMPTS, ModelServer, NoAnswer
from tfsdeploy.agent.replica.stored import StoredPages
from tfsdeploy.agent.silence import Silence
from tfsdeploy.agent.sources import ReleaseSource
from tfsdeploy.agent.status import StatusServer
from tfsdeploy.protocol.agents import LEASE_SECONDS, ReplicaStatus, State, encode
from tfsdeploy.release.model import InvalidRelease, Release
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.verify import VerifiedCache

if TYPE_CHECKING:
    from tfsdeploy.store.fetch import Fetcher

log = logging.getLogger(__name__)

MOVING_SECONDS = 0.05
"""How often the server is asked while something is expected to change."""

RESTING_SECONDS = 1.0

STALE_SECONDS = 5.0
"""A load that failed again before it was seen to begin is told by its END row staying for so long."""

START_SECONDS = 90.0
"""A server that has not come up for so long is to start with nothing: what it was to load may be what ends it."""

START_BYTES_PER_SECOND = 20e6
"""The slowest storage from which a server is expected to load; what it is to load lengthens its start by that."""

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
        announce: the folder in which gateways look for replicas, if it is the agent that says where it is.
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
    announce: Path | None = None
    drain_seconds: float = 1.0
    lease_seconds: float = LEASE_SECONDS


class ReplicaAgent:
    """One replica's agent; constructing it touches nothing.

    Args:
        settings: what it is told.
        releases: what is wanted.
        store: the folder that the model server reads.
        cache: what was verified on this machine already.
        fetcher: brings versions into that folder; None if it is the store itself.
    """

    def __init__(
        self,
        settings: Settings,
        releases: ReleaseSource,
        store: FileStore,
        cache: VerifiedCache,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._settings = settings
        self._releases = releases
        self._folder = Folder(settings.folder, store)
        self._metrics = Metrics()
        self._wake = asyncio.Event()
        self._files = VersionFiles(store, cache, self._wake.set, self._metrics, fetcher)
        # What was fetched is on this machine's own disk: its store is asked for nothing that is not needed.
        self._in_place = fetcher is None
        self._store = StoreLook(
            partial(trouble, store) if fetcher is None else lambda _: fetcher.store.bucket.trouble()
        )
        self._second = SecondLook(store, self._wake.set)
        if fetcher is not None:
            fetcher.fetched = self._metrics.fetched
        self._server = ModelServer(settings.server_rest)
        self._status = StatusServer(
            settings.listen,
            started=lambda: self._folder.configured,
            ready=self._ready,
            metrics=self._metrics.page,
            on_poll=self._heard,
            pages=[
                release_page(lambda: self._release),
                *StoredPages(store if fetcher is None else fetcher.store).routes(),
            ],
        )
        self._handshake = Handshake(settings.folder, self._wake.set)
        self._release: Release | None = None
        self._wanted: dict[Key, str | None] = {}
        self._promotes: dict[Key, str] = {}
        self._memory = Memory()
        self._forgot = False
        self._rows: Rows | None = None
        self._silent = False
        self._silence = Silence(settings.folder)
        self._decision = Decision(Memory())
        self._stale_since: dict[Key, float] = {}
        self._reloaded: set[Key] = set()
        self._unloaded: set[Key] = set()
        self._down_since = 0.0
        self._asked = 0.0
        self._turn = 0
        self._ending = False

    async def run(self, leave: asyncio.Event) -> None:
        """Work until asked to leave, and then until every gateway has let go of the replica.

        Args:
            leave: set when the replica is to go, and its agent to end.

        Raises:
            TfsdeployError: the status server cannot listen, or the folder cannot be made.
        """
        remembered = self._folder.prepare()
        self._forgot = remembered is None
        self._memory = remembered or Memory()
        self._uses = Acknowledgements(
            time.monotonic, self._settings.lease_seconds, self._settings.drain_seconds, self._memory.gateways
        )
        self._down_since = time.monotonic()
        if (release := self._folder.last_good_release()) is not None:
            self._follow(release)
        jobs = (self._follow_releases(), self._end_when(leave), self._handshake.run())
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await self._work(tasks)
        finally:
            for task in tasks:
                task.cancel()
            if self._settings.announce is not None:
                retract(self._settings.announce, self._settings.name)
            self._files.close()
            await self._status.close()
            await self._server.close()

    async def _work(self, tasks: list[asyncio.Task[None]]) -> None:
        listening = False
        while not (self._ending and self._is_out(listening)):
            if await self._step() and not listening:
                # Not before it is known what is true: an agent that restarts never shows an emptier state.
                await self._status.start()
                listening = True
                if self._settings.announce is not None:
                    announce(self._settings.announce, self._settings.name, self._settings.listen)
            if self._handshake.asked and self._is_out(listening):
                self._handshake.left()
            await self._rest()
            for task in tasks:
                if task.done():
                    task.result()

    async def _end_when(self, leave: asyncio.Event) -> None:
        await leave.wait()
        log.info("leaving")
        self._ending = True
        self._wake.set()

    @property
    def _leaving(self) -> bool:
        return self._ending or self._handshake.asked

    def _is_out(self, listening: bool) -> bool:
        """Whether it is leaving, and no gateway sends anything here any more."""
        return self._leaving and (not listening or REPLICA in self._uses.drained())

    async def _step(self) -> bool:
        """Look, decide, act; whether what is published is true."""
        if self._release is None:
            return False
        await self._look()
        if self._rows is None and self._server.connected:
            return False  # a server that runs and says nothing yet keeps its configuration
        release = self._release  # looking took time: there may be a newer one
        await self._files.hold(self._wanted, self._memory.listed, self._memory.departing)
        self._files.want(self._wanted, self._promotes)
        self._store.look(self._memory.listed)
        if self._store.came_back():
            # Perhaps as another one.
            self._look_again()
        if not self._folder.configured and self._rows is None and not self._files.complete():
            return False  # what a server starts with is looked at first
        if self._forgot and self._rows is not None:
            self._memory = recovered(self._wanted, self._rows)
        self._forgot = False
        if self._in_place and self._rows is not None:
            # What was torn is not listed again before its files are known to be there.
            self._files.look_again(self._second.look(arrived(self._memory, self._rows)))
        self._decision = decide(self._moment())
        self._memory = self._decision.memory
        # Not in the loop: a disk that takes seconds to sync must not stop the beats of a replica that serves.
        await asyncio.to_thread(self._folder.write, self._memory)
        self._publish(release)
        return True

    async def _look(self) -> None:
        """Ask the server, often while something moves; learn that it is gone the moment its connection closes."""
        # Who answers on a new connection may be another process, whose rows are all that counts.
        anew = self._rows is None or self._silent or not self._server.connected
        if not await self._server.connect():
            self._silence.heard()
            self._gone()
            return
        self._down_since = time.monotonic()
        resting = not anew and not self._decision.moving
        if resting and time.monotonic() - self._asked < RESTING_SECONDS:
            return
        self._asked = time.monotonic()
        try:
            rows = await self._server.rows(self._questions(anew), attempts=1 if self._silent else ATTEMPTS)
            if not anew and lost(self._memory, self._rows or {}, rows):
                # What took one model may have taken all, such as a mount that shows empty folders.
                rows = await self._server.rows(self._questions(True))
                # What comes back into its place may be other bytes, and the server would load them without asking.
                self._unloaded |= lost(self._memory, self._rows or {}, rows)
                self._look_again()
        except NoAnswer as error:
            if self._rows is not None and not self._silent and self._server.connected:
                log.warning("%s; nothing is AVAILABLE until it does", error)
            # Whether it hangs or is gone is seen at the connection.
            self._silent = self._rows is not None
            self._silence.unheard()
        else:
            self._silence.heard()
            self._rows = rows if anew else {**(self._rows or {}), **rows}
            self._silent = False

    def _questions(self, anew: bool) -> list[str]:
        """The models to ask for: all, or those that move and one that rests; anything sudden shows otherwise."""
        names = sorted({model for model, _ in (*self._wanted, *self._memory.listed, *self._memory.departing)})
        if anew or not names:
            return names
        self._turn += 1
        return sorted({*self._decision.moving.intersection(names), names[self._turn % len(names)]})

    def _gone(self) -> None:
        """No server runs: what it may have been loading is remembered, and nothing is AVAILABLE."""
        if self._rows is None:
            return
        log.warning("the model server is gone")
        self._metrics.deaths.inc()
        self._memory = died(self._memory, self._rows, self._promotes)
        self._rows, self._silent = None, False
        self._down_since = time.monotonic()
        # Before it starts again: its files may have changed since they were verified.
        self._reloaded = set(self._memory.listed)
        self._look_again()

    def _look_again(self) -> None:
        self._files.look_again()
        self._files.want(self._wanted, self._promotes)

    def _moment(self) -> Moment:
        now = time.monotonic()
        self._stale_since = {
            # A name that is being brought in blocks the server's configuration thread; nothing else is tried meanwhile.
            key: now if self._decision.moving - {key[0]} else self._stale_since.get(key, now)
            for key in self._memory.stale
        }
        files = self._files.known()
        # A store that is away hides what a server has read at its start, not what it may yet read.
        self._reloaded = {key for key in self._reloaded if key in files and files[key].state not in ("present", "away")}
        self._unloaded = {key for key in self._unloaded if key in files and files[key].state != "present"}
        patience = START_SECONDS + sum(found.total for found in files.values()) / START_BYTES_PER_SECOND
        drained = self._uses.drained()
        return Moment(
            wanted=self._wanted,
            files=files,
            rows=self._rows,
            memory=replace(self._memory, gateways=self._uses.gateways()),
            silent=self._silent,
            drained=frozenset(key for key in self._memory.listed if key in drained),
            start_over=self._rows is None and now - self._down_since > patience,
            reloaded=frozenset(self._reloaded | self._unloaded),
            unsure=self._second.unsure,
            torn=self._second.torn,
            overdue=frozenset(key for key, since in self._stale_since.items() if now - since > STALE_SECONDS),
            promotes=self._promotes,
        )

    def _publish(self, release: Release) -> None:
        settings, decision = self._settings, self._decision
        status = ReplicaStatus(
            replica=settings.name,
            generation=release.generation,
            ready=self._ready(),
            leaving=self._leaving,
            rest=self._server.located(settings.rest),
            grpc=self._server.located(settings.grpc),
            models=decision.models,
            store_error=self._store.error or decision.damaged,
        )
        leaving: list[object] = [
            (model, version)
            for model, versions in decision.models.items()
            for version, row in versions.items()
            if row.state is State.DRAINING
        ]
        self._uses.published(self._status.publish(encode(status)), leaving + [REPLICA] * self._leaving)
        self._metrics.tell(release.generation, self._rows is not None and not self._silent, decision)

    def _ready(self) -> bool:
        return self._decision.ready and not self._leaving

    async def _rest(self) -> None:
        """Until something happens, or the server is to be asked again."""
        moving = bool(self._decision.moving) or self._rows is None or self._silent or self._leaving
        waits: list[Coroutine[object, object, object]] = [self._wake.wait()]
        if self._server.connected:
            waits.append(self._server.closed())
        tasks = [asyncio.create_task(wait) for wait in waits]
        seconds = MOVING_SECONDS if moving else RESTING_SECONDS
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._wake.clear()

    async def _follow_releases(self) -> None:
        async for found in self._releases.releases():
            if isinstance(found, InvalidRelease):
                self._metrics.invalid_releases.inc()
                log.error("this release is not followed, the last good one stays: %s", found)
            elif found.fleet != self._settings.fleet:
                log.error("this release is of fleet %s and not followed", found.fleet)
            elif found.supersedes(self._release):
                self._follow(found)
                await asyncio.to_thread(self._folder.keep_release, found)

    def _follow(self, release: Release) -> None:
        self._release = release
        self._wanted = {
            (name, version): digest
            for name, model in sorted(release.models.items())
            for version, digest in sorted(model.versions.items())
        }
        self._promotes = {
            (name, model.rollout.to): model.rollout.id
            for name, model in release.models.items()
            if model.rollout is not None
        }
        self._wake.set()

    def _heard(self, gateway: str, applied: str) -> None:
        self._uses.heard(gateway, applied)
        self._wake.set()

"""The gateway agent: whatever changes, decide anew, have Envoy follow, and tell the world."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from tfsdeploy.agent.gateway import kept
from tfsdeploy.agent.gateway.admin import Admin, NoAnswer, NotRunning
from tfsdeploy.agent.gateway.apply import Applier, Newer, Outcome
from tfsdeploy.agent.gateway.leave import wind_down
from tfsdeploy.agent.gateway.metrics import Metrics
from tfsdeploy.agent.gateway.pins import Folding
from tfsdeploy.agent.gateway.presence import LeaveRequests, Presence
from tfsdeploy.agent.gateway.replicas import Replicas
from tfsdeploy.agent.release_page import release_page
from tfsdeploy.agent.silence import Silence
from tfsdeploy.agent.sources import PinsSource, ReleaseSource, ReplicaSource
from tfsdeploy.agent.status import StatusServer
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.files import replace_file
from tfsdeploy.gateway.decide import Decision, decide
from tfsdeploy.gateway.files import PAUSE_SECONDS
from tfsdeploy.gateway.shape import LISTENERS, GatewayShape, shape_files
from tfsdeploy.gateway.table import Table
from tfsdeploy.protocol.agents import GatewayModel, GatewayStatus, encode
from tfsdeploy.release.model import InvalidRelease, Release
from tfsdeploy.release.update import ReleaseStore

log = logging.getLogger(__name__)

VERIFY_SECONDS = 1.0
"""How often an Envoy that uses the files is asked whether it still does."""

UNCONFIRMED_SECONDS = 0.05
"""How often one is asked that is starting, or gone."""

RETRY_SECONDS = 1.0
"""Between two tries when a file cannot be written."""

TIDY_SECONDS = 1.0
"""Changes that follow each other closely may put off tidying for so long: leaving replicas wait for it."""

REFUSED = "Envoy refused the configuration"


@dataclass(frozen=True, slots=True)
class Settings:
    """What one gateway agent is told.

    Attributes:
        shape: of its gateway.
        folder: the gateway's own, where Envoy runs.
        listen: ``host:port`` of the status server.
        min_available: how many members open the barrier of a rollback.
        keep: how many versions beside the newest stay loaded when pins are folded.
    """

    shape: GatewayShape
    folder: Path
    listen: str
    min_available: int
    keep: int


class GatewayAgent:
    """One gateway's agent; constructing it touches nothing.

    Args:
        settings: what it is told.
        releases: what is wanted.
        replicas: who is there.
        pins: what the fleet file asks for.
        store: where pins are folded into the release.
    """

    def __init__(
        self,
        settings: Settings,
        releases: ReleaseSource,
        replicas: ReplicaSource,
        pins: PinsSource,
        store: ReleaseStore,
    ) -> None:
        self._settings = settings
        self._name = settings.shape.name
        self._releases = releases
        self._replica_source = replicas
        self._pins = pins
        self._store = store
        self._metrics = Metrics()
        self._wake = asyncio.Event()
        self._release: Release | None = None
        self._models: Mapping[str, GatewayModel] = {}
        """What is decided, and written for Envoy."""
        self._shown: Mapping[str, GatewayModel] = {}
        """What an Envoy has acknowledged of it; nothing else is told."""
        self._applied: Table | None = None
        self._refused: Table | None = None
        self._kept: Release | None = None
        self._tidied = 0.0
        self._acted = 0
        self._first_round = False
        self._confirmed = False
        self._useful = False
        self._requests = LeaveRequests(settings.folder)
        self._presence = Presence.HERE
        self._silence = Silence(settings.folder)

    async def run(self, leave: asyncio.Event) -> None:
        """Work until asked to leave, then wind Envoy's clients down.

        Args:
            leave: set when the gateway is to go, and its agent to end.

        Raises:
            TfsdeployError: the status server cannot listen, or a template is missing.
        """
        before = kept.read(self._settings.folder)
        self._release, self._models = before.release, before.models
        self._admin = Admin(self._settings.shape.admin_socket)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=1.0)
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
        self._status = StatusServer(
            self._settings.listen,
            started=self._started,
            ready=self._ready,
            metrics=self._all_metrics,
            pages=[release_page(lambda: self._release)],
        )
        self._replicas = Replicas(self._replica_source, session, self._name, self._wake.set)
        self._applier = Applier(self._settings.shape, self._settings.folder, self._admin, before.table)
        try:
            await self._prepare()
            self._publish()
            await self._status.start()
            await self._work(leave)
        finally:
            await self._status.close()
            await session.close()
            await self._admin.close()

    async def _work(self, leave: asyncio.Event) -> None:
        author = f"gateway {self._name}"
        folding = Folding(
            self._pins, self._store, author, self._settings.keep, lambda: self._release, lambda: self._shown
        )
        async with asyncio.TaskGroup() as group:
            jobs = (self._follow_release(), self._replicas.run(), self._follow(), self._verify(), folding.run())
            tasks = [group.create_task(job) for job in (*jobs, self._requests.run(leave))]
            while True:
                await self._requests.asked_to_leave()
                await self._leave()
                if not await self._requests.asked_back():
                    break
                self._come_back()
            for task in tasks:
                task.cancel()

    async def _leave(self) -> None:
        self._presence = Presence.LEAVING
        self._publish()
        # What is decided meanwhile still reaches Envoy: its last requests go to replicas that are there.
        shape = self._settings.shape
        await wind_down(self._admin, shape.drain_seconds, shape.timeout_seconds)
        self._presence = Presence.OUT
        await self._replicas.farewell()

    def _come_back(self) -> None:
        """Follow the replicas as after a start; ready again once Envoy has what follows from what they say."""
        self._presence = Presence.RETURNING
        self._first_round = False
        self._replicas.resume()
        self._wake.set()

    async def _prepare(self) -> None:
        """Put every file in place that does not change, but no listener before there is something to route."""
        files = shape_files(self._settings.shape)
        self._listeners: str | None = files.pop(LISTENERS)
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            replace_file(self._settings.folder / name, text, lasting=False)
        try:
            await self._admin.statistics()
        except NotRunning:
            (self._settings.folder / LISTENERS).unlink(missing_ok=True)
        except NoAnswer as error:
            log.warning("%s", error)

    async def _follow_release(self) -> None:
        async for found in self._releases.releases():
            if isinstance(found, InvalidRelease):
                self._metrics.invalid_releases.inc()
                log.error("this release is not followed, the last good one stays: %s", found)
            elif found.fleet != self._settings.shape.fleet:
                log.error("this release is of fleet %s and not followed", found.fleet)
            elif found.supersedes(self._release):
                if self._release is not None and found.uid != self._release.uid:
                    log.info("the fleet was created anew: generation %d, uid %s", found.generation, found.uid)
                    self._models = {}
                self._release = found
                self._wake.set()

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._first_round = self._first_round or self._replicas.complete
            # Until everybody was heard, what Envoy has is better than anything that could be decided.
            if self._first_round and self._release is not None and self._presence is not Presence.OUT:
                await self._try(self._release)
                if self._presence is Presence.RETURNING:
                    self._presence = Presence.HERE
                    self._publish()

    async def _try(self, release: Release) -> None:
        try:
            await self._act(release)
        except (OSError, TfsdeployError) as error:
            log.error("generation %d cannot be put in place, and is tried again: %s", release.generation, error)
            self._applied = None
            await asyncio.sleep(RETRY_SECONDS)
            self._wake.set()

    async def _act(self, release: Release) -> None:
        etags = self._replicas.etags()
        decision = self._decide(release)
        # With models to serve and nobody who has one, as after a reboot, clients had better ask another gateway.
        self._useful = bool(decision.table.replicas()) or not any(model.traffic for model in release.models.values())
        self._metrics.replicas(self._replicas.statuses().values())
        if decision.table == self._refused:
            return
        before, self._models = self._models, decision.models
        if decision.table != self._applied and not await self._apply(release, decision, before):
            return
        if release is not self._kept:
            self._keep(release, decision.models, decision.table)
        self._acted = release.generation
        if self._confirmed:
            self._shown = decision.models
        self._publish()
        self._replicas.acknowledge(etags)

    def _decide(self, release: Release) -> Decision:
        return decide(release, self._replicas.statuses(), self._models, self._settings.min_available)

    async def _apply(self, release: Release, decision: Decision, before: Mapping[str, GatewayModel]) -> bool:
        """Have Envoy follow; False if it was not brought to an end."""
        table, applied = decision.table, self._applied
        self._applied = None

        def newer() -> bool:
            return self._wake.is_set() and self._release is not None and self._decide(self._release).table != table

        # Written first: a split that became effective stays so, even if this process is killed on the way.
        self._keep(release, decision.models, self._applier.bridge(table))
        began = time.monotonic()
        outcome = await self._applier.switch(table, newer)
        if outcome is Outcome.SUPERSEDED:
            return False
        if outcome is Outcome.REJECTED:
            self._applied = applied
            self._refuse(release, decision, before)
            return False
        self._refused = None
        self._tell(before, decision.models, outcome)
        self._acted = release.generation
        if outcome is Outcome.ACKNOWLEDGED:
            self._metrics.switch_seconds.observe(time.monotonic() - began)
            self._confirmed = self._confirmed or self._listeners is None
            self._shown = decision.models
        else:
            self._confirmed = False
        self._publish()
        if not await self._tidy(table, newer):
            return False
        self._kept = None
        self._applied = table
        if self._listeners is not None:
            self._applier.open_listeners(self._listeners)
            self._listeners = None
        return True

    async def _tidy(self, table: Table, newer: Newer) -> bool:
        if self._applier.needs_tidying(table):
            end = time.monotonic() + PAUSE_SECONDS
            while (left := end - time.monotonic()) > 0:
                await asyncio.sleep(min(left, 0.02))
                if end - self._tidied < TIDY_SECONDS and newer():
                    return False
        outcome = await self._applier.tidy(table, newer)
        self._tidied = time.monotonic()
        return outcome in (Outcome.ACKNOWLEDGED, Outcome.IN_PLACE)

    def _refuse(self, release: Release, decision: Decision, before: Mapping[str, GatewayModel]) -> None:
        self._refused = decision.table
        if self._models is decision.models:
            self._models = before
        self._metrics.rejections.inc()
        log.error("generation %d: %s; the one before stays", release.generation, REFUSED)
        self._keep(release, before, self._applier.bridge(Table()))
        refused = {self._name: REFUSED}
        # A model that this release changes says what it waits for; the others are as they were.
        self._shown = {
            name: model if model == was else replace(was, waiting_for=refused)
            for name, model in decision.models.items()
            for was in [before.get(name, GatewayModel(0, {}))]
        }
        self._publish()

    async def _verify(self) -> None:
        """Notice an Envoy that went, hangs, or came; it reads the files by itself."""
        while True:
            await asyncio.sleep(VERIFY_SECONDS if self._confirmed else UNCONFIRMED_SECONDS)
            applied = self._applied
            uses_files = await self._asks_envoy()
            if uses_files is not None and (applied is None or applied is not self._applied):
                continue  # files were on their way while it answered
            confirmed = uses_files is True and self._listeners is None
            if confirmed == self._confirmed:
                continue
            self._confirmed = confirmed
            if confirmed and self._refused is None:
                self._shown = self._models
            log.info("Envoy %s", "uses the files as they stand" if confirmed else "is gone, hangs, or is starting")
            self._publish()

    async def _asks_envoy(self) -> bool | None:
        """Whether Envoy uses the files as they stand; None if it does not answer."""
        try:
            statistics = await self._admin.statistics()
        except NoAnswer:
            self._silence.unheard()
            return None
        except NotRunning:
            self._silence.heard()
            return None
        self._silence.heard()
        self._metrics.lua_errors.set(statistics.lua_errors)
        return self._applier.confirmed(statistics)

    def _started(self) -> bool:
        return (self._settings.folder / LISTENERS).exists()

    def _ready(self) -> bool:
        return self._confirmed and self._useful and self._presence is Presence.HERE

    def _publish(self) -> None:
        status = GatewayStatus(self._name, self._acted, self._ready(), self._presence is not Presence.HERE, self._shown)
        self._metrics.generation.set(self._acted)
        self._metrics.acknowledged.set(self._confirmed)
        self._metrics.models(self._shown)
        self._status.publish(encode(status))

    async def _all_metrics(self) -> bytes:
        try:
            return self._metrics.text() + await self._admin.prometheus()
        except (NotRunning, NoAnswer):
            return self._metrics.text()

    def _keep(self, release: Release, models: Mapping[str, GatewayModel], table: Table) -> None:
        self._kept = release
        try:
            kept.write(self._settings.folder, kept.Kept(release, models, table))
        except OSError as error:
            log.error("what is effective cannot be kept: %s", error)

    def _tell(self, before: Mapping[str, GatewayModel], after: Mapping[str, GatewayModel], outcome: Outcome) -> None:
        for name, model in after.items():
            was = before[name].traffic if name in before else {}
            if was != model.traffic:
                log.info("%s: %s -> %s (%s)", name, was, model.traffic, outcome.name.lower().replace("_", " "))

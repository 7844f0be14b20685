"""Move Envoy from one table to the next, in the order in which no request meets a route without its cluster.

clusters of both ──> acknowledged ──> routes ──> acknowledged ──> a pause ──> the new clusters alone
└───────────────────────── switch ──────────────────────────┘               └────────── tidy ──────┘
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path

from tfsdeploy.agent.gateway.admin import Admin, NoAnswer, NotRunning, Statistics
from tfsdeploy.gateway.admin import VERSION_STATISTIC, acknowledged
from tfsdeploy.gateway.files import CLUSTERS_FILE, File, clusters_file, routes_files
from tfsdeploy.gateway.shape import LISTENERS, GatewayShape
from tfsdeploy.gateway.table import Endpoint, Table, union

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.003
"""Between two looks whether Envoy has taken a file; it takes 2 to 11 ms for small ones."""

PATIENCE_SECONDS = 1.0
"""How long an acknowledgement is waited for before a newer table may take the place of this one."""

Newer = Callable[[], bool]
"""Whether there is a table newer than the one that is being applied."""


class Outcome(Enum):
    """How far Envoy followed."""

    ACKNOWLEDGED = auto()
    """It uses the files."""
    IN_PLACE = auto()
    """No Envoy runs; the next one starts from the files."""
    SUPERSEDED = auto()
    """It had not taken them yet when a newer table came."""
    REJECTED = auto()
    """It refused them; the files are as they were."""


class Applier:
    """Envoy's files of one gateway.

    Args:
        shape: the gateway's shape.
        folder: where the files are.
        admin: asks Envoy.
        table: what Envoy may be using now: everything that its routes could name is in it.
    """

    def __init__(self, shape: GatewayShape, folder: Path, admin: Admin, table: Table) -> None:
        self._shape = shape
        self._folder = folder
        self._admin = admin
        self._table = table
        self._good: Table | None = None
        self._clusters: _Clusters | None = None
        self._files: dict[str, File] = {}

    def bridge(self, table: Table) -> Table:
        """What Envoy may be using from the moment in which `switch` begins, until `tidy` has ended."""
        return union(self._table, table)

    async def switch(self, table: Table, newer: Newer) -> Outcome:
        """Make a table effective. What only the table before needs stays until `tidy`."""
        before = await self._rejected()
        self._table = self.bridge(table)
        outcome = await self._put_clusters(self._table, before, newer)
        if outcome in (Outcome.ACKNOWLEDGED, Outcome.IN_PLACE):
            outcome = await self._put(routes_files(table, self._shape), before, newer)
        if outcome is Outcome.REJECTED:
            self._restore()
        elif outcome is not Outcome.SUPERSEDED:
            self._good = table
        return outcome

    async def tidy(self, table: Table, newer: Newer) -> Outcome:
        """Take away what a table does not need, some time after `switch` made it effective."""
        before = await self._rejected()
        outcome = await self._put_clusters(table, before, newer)
        if outcome in (Outcome.ACKNOWLEDGED, Outcome.IN_PLACE):
            self._table = table
        elif outcome is Outcome.REJECTED:
            self._restore()
        return outcome

    def needs_tidying(self, table: Table) -> bool:
        """Whether Envoy has clusters or replicas that a table does not need."""
        return self._clusters != _clusters_of(table)

    def confirmed(self, statistics: Statistics) -> bool:
        """Whether an Envoy that says this uses the files as they stand."""
        return bool(self._files) and acknowledged(statistics.text, self._files.values())

    def open_listeners(self, text: str) -> None:
        """Put the listeners in place, once what they route by is there; whoever starts Envoy waits for them."""
        file = File(LISTENERS, text, str(json.loads(text)["version_info"]))
        if not (self._folder / LISTENERS).exists() or (self._folder / LISTENERS).read_text() != text:
            file.write(self._folder)
        self._files[LISTENERS] = _light(file)

    async def _put_clusters(self, table: Table, before: int | None, newer: Newer) -> Outcome:
        # With many models this file takes longer to make than all the rest, and a change of weights leaves it alone.
        wanted = _clusters_of(table)
        if wanted == self._clusters:
            return await self._put([self._files[CLUSTERS_FILE]], before, newer)
        self._clusters = None
        file = clusters_file(table, self._shape)
        self._write(file)
        self._clusters = wanted
        return await self._put([file], before, newer)

    async def _put(self, files: Sequence[File], before: int | None, newer: Newer) -> Outcome:
        for file in files:
            self._write(file)
        return await self._acknowledged(files, before, newer)

    def _write(self, file: File) -> None:
        if self._files.get(file.name) != _light(file):
            if _version_on_disk(self._folder / file.name) != file.version:
                file.write(self._folder)
            self._files[file.name] = _light(file)

    async def _acknowledged(self, files: Sequence[File], before: int | None, newer: Newer) -> Outcome:
        began = time.monotonic()
        while True:
            try:
                statistics = await self._admin.statistics()
            except NotRunning:
                return Outcome.IN_PLACE
            except NoAnswer as error:
                log.warning("%s", error)
            else:
                if acknowledged(statistics.text, files):
                    return Outcome.ACKNOWLEDGED
                if _unused(statistics, files):
                    return Outcome.IN_PLACE
                if before is not None and statistics.rejections > before:
                    return Outcome.REJECTED
            waited = time.monotonic() - began
            if waited > PATIENCE_SECONDS and newer():
                return Outcome.SUPERSEDED
            await asyncio.sleep(LOOK_SECONDS if waited < PATIENCE_SECONDS else 20 * LOOK_SECONDS)

    async def _rejected(self) -> int | None:
        """How often Envoy has refused a file so far; None if it cannot say."""
        try:
            return (await self._admin.statistics()).rejections
        except (NotRunning, NoAnswer):
            return None

    def _restore(self) -> None:
        """Put the last good files back, so that an Envoy that is started anew reads them."""
        if self._good is None:
            return
        self._table = self._good
        self._clusters = _clusters_of(self._table)
        for file in (clusters_file(self._table, self._shape), *routes_files(self._table, self._shape)):
            file.write(self._folder)
            self._files[file.name] = _light(file)


_Clusters = Mapping[str, Mapping[int, tuple[Endpoint, ...]]]


def _clusters_of(table: Table) -> _Clusters:
    """All of a table that its clusters depend on."""
    return {name: model.versions for name, model in table.models.items()}


def _unused(statistics: Statistics, files: Sequence[File]) -> bool:
    """Whether no listener reads the routes yet: it reads the files as they stand when it comes."""
    return not any(f"{VERSION_STATISTIC[file.name]}:" in statistics.text for file in files)


def _light(file: File) -> File:
    """A file without its text, which may be large."""
    return File(file.name, "", file.version)


def _version_on_disk(file: Path) -> str | None:
    """The version of a file that an earlier process may have written."""
    try:
        with open(file, encoding="utf-8") as stream:
            head = stream.read(64)
    except (OSError, ValueError):
        return None
    prefix = '{"version_info":"'
    return head[len(prefix) :].partition('"')[0] if head.startswith(prefix) else None

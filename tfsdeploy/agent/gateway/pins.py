"""Fold the pins of the fleet file into the release, if nobody else did: so that Git alone can change a fleet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from tfsdeploy.agent.sources import PinsSource
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.protocol.agents import GatewayModel
from tfsdeploy.release.model import ModelRelease, Release
from tfsdeploy.release.transitions import fold
from tfsdeploy.release.update import Author, ReleaseStore, change_models

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks whether the newest pins are folded; the command that hands them over does so at once itself."""

RETRY_SECONDS = 5.0
"""Between two tries, while a command has a model that the pins would change."""


class Folding:
    """One gateway's share in it; whoever swaps first has folded for all.

    Args:
        source: where the pins are handed over.
        store: where the release document is written.
        author: the gateway's name, for the history.
        keep: how many versions beside the newest stay loaded.
        release: the release that the gateway follows.
        effective: what is effective at this gateway, acknowledged by Envoy.
    """

    def __init__(
        self,
        source: PinsSource,
        store: ReleaseStore,
        author: str,
        keep: int,
        release: Callable[[], Release | None],
        effective: Callable[[], Mapping[str, GatewayModel]],
    ) -> None:
        self._source = source
        self._store = store
        self._author = author
        self._keep = keep
        self._release = release
        self._effective = effective
        self._pins: Pins | None = None

    async def run(self) -> None:
        """Fold whenever there is something to fold, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._fold())

    async def _read(self) -> None:
        async for pins in self._source.pins():
            if isinstance(pins, Pins):
                self._pins = pins
            else:
                log.warning("the pins cannot be read: %s", pins)

    async def _fold(self) -> None:
        overdue: str | None = None
        while True:
            pending = self._pending()
            # Twice in a row: the command that wrote the pins is about to fold them, with the digests that it has seen.
            if pending is not None and pending.digest == overdue:
                await self._try(pending)
                await asyncio.sleep(RETRY_SECONDS)
            overdue = None if pending is None else pending.digest
            await asyncio.sleep(LOOK_SECONDS)

    def _pending(self) -> Pins | None:
        release = self._release()
        if release is None or self._pins is None or self._pins.digest == release.pins:
            return None
        return self._pins

    async def _try(self, pins: Pins) -> None:
        effective = {name: model.traffic for name, model in self._effective().items()}

        def decide(release: Release) -> tuple[Mapping[str, ModelRelease | None], str | None]:
            settled = frozenset(name for name, model in release.models.items() if effective.get(name) == model.traffic)
            return fold(release, pins, keep=self._keep, settled=settled), pins.digest

        try:
            author = Author(self._author, f"pins {pins.digest}")
            release = await asyncio.to_thread(change_models, self._store, decide, author)
            log.info("pins %s are folded: generation %d", pins.digest, release.generation)
        except (TfsdeployError, OSError) as error:
            log.warning("pins %s are not folded yet: %s", pins.digest, error)

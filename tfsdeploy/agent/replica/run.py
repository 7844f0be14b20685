"""Run a replica agent as a process."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfsdeploy.agent.replica.agent import ReplicaAgent, Settings
from tfsdeploy.agent.sources import ReleaseSource
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.verify import VerifiedCache

if TYPE_CHECKING:
    from tfsdeploy.store.fetch import Fetcher


def run(
    settings: Settings, releases: ReleaseSource, store: FileStore, cache: Path, fetcher: Fetcher | None = None
) -> int:
    """Work until SIGTERM or SIGINT, then leave; returns the exit code.

    Args:
        settings: what the agent is told.
        releases: what is wanted.
        store: the folder that the model server reads.
        cache: the file that remembers what was verified on this machine.
        fetcher: brings versions into that folder; None if it is the store itself.

    Raises:
        TfsdeployError: the agent cannot start.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_run(settings, releases, store, cache, fetcher))
    return 0


async def _run(
    settings: Settings, releases: ReleaseSource, store: FileStore, cache: Path, fetcher: Fetcher | None
) -> None:
    leave = asyncio.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wanted, leave.set)
    agent = ReplicaAgent(settings, releases, store, VerifiedCache(cache), fetcher)
    await agent.run(leave)

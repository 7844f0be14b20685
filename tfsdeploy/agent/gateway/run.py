"""Run a gateway agent as a process whose fleet's state is a folder."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.agent.gateway.agent import GatewayAgent, Settings
from tfsdeploy.agent.sources import PinsFile, ReleaseFile, ReplicaFolder
from tfsdeploy.release.disk import ReleaseFolder


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a fleet's state is.

    Attributes:
        release: ``release.json``, in the folder where it is also written.
        pins: what the fleet file asks for.
        replicas: the folder of all replicas.
    """

    release: Path
    pins: Path
    replicas: Path


def run(settings: Settings, sources: Sources) -> int:
    """Work until SIGTERM or SIGINT, then leave; returns the exit code.

    Raises:
        TfsdeployError: the agent cannot start.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_run(settings, sources))
    return 0


async def _run(settings: Settings, sources: Sources) -> None:
    leave = asyncio.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wanted, leave.set)
    agent = GatewayAgent(
        settings,
        ReleaseFile(sources.release),
        ReplicaFolder(sources.replicas),
        PinsFile(sources.pins),
        ReleaseFolder(sources.release.parent),
    )
    await agent.run(leave)

"""A planned leave: clients go elsewhere, and the last of their requests are answered."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from tfsdeploy.agent.gateway.admin import Admin, NoAnswer, NotRunning
from tfsdeploy.gateway.admin import DRAIN, DRAINING, drained

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05


async def wind_down(admin: Admin, drain_seconds: float, longest_seconds: float) -> None:
    """Fail health checks, wind connections down, and wait until Envoy can be ended.

    Args:
        admin: asks Envoy; if it does not run there is nothing to wait for.
        drain_seconds: how long connections are wound down before the listeners close.
        longest_seconds: how long a request may take that came last.
    """
    end = time.monotonic() + max(1, math.ceil(drain_seconds)) + longest_seconds
    try:
        for path in DRAIN:
            await admin.post(path)
        while time.monotonic() < end:
            if drained(await admin.get(DRAINING)):
                return
            await asyncio.sleep(LOOK_SECONDS)
        log.warning("requests are still in flight")
    except (NotRunning, NoAnswer) as error:
        log.warning("leaving without a drain: %s", error)

"""Wait for what becomes of the pins of one commit, so that a Job's success says that the change is effective."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from tfsdeploy.agent.kubernetes.account import Account
from tfsdeploy.agent.kubernetes.configmaps import AccountConfigMaps
from tfsdeploy.agent.kubernetes.outcome import Outcome, judge
from tfsdeploy.errors import Refused, TfsdeployError
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.protocol.agents import GatewayStatus, decode_gateway
from tfsdeploy.release.configmap import Away, ReleaseConfigMaps, pins_in
from tfsdeploy.release.model import Release
from tfsdeploy.release.remembered import newest
from tfsdeploy.release.update import Author

LOOK_SECONDS = 0.5

SAID_BEFORE_REFUSED = 4
"""Looks that must all find a refusal: one of the moment, as of a version that failed before, is no outcome."""

STATUS_SECONDS = 2.0


def wait_for_pins(account: Account, fleet: str, digest: str, seconds: float, say: Callable[[str], None]) -> None:
    """Make the fleet's release if it has none, and wait until the pins are effective at every gateway.

    Args:
        account: of this pod.
        fleet: its name.
        digest: of the pins.
        seconds: how long to wait.
        say: hears of each thing that is waited for.

    Raises:
        Refused: a version failed, or Envoy refuses; traffic is as it was.
        TfsdeployError: it is not so after ``seconds``, or the API server refuses what is asked of it.
    """
    configmaps = AccountConfigMaps(account)
    store = ReleaseConfigMaps(configmaps, fleet, remembered=lambda: _remembered(configmaps, fleet))
    end, prepared, refusals, told = time.monotonic() + seconds, False, 0, ""
    while True:
        try:
            if not prepared:
                change = Author(f"pins job of {fleet}", "first release").change()
                store.prepare(Release(fleet, uuid.uuid4().hex, 1, change))
                prepared = True
            outcome = _look(configmaps, store, fleet, digest)
        except Away as error:
            outcome = Outcome(waiting=str(error))
        refusals = refusals + 1 if outcome.refused else 0
        if refusals == SAID_BEFORE_REFUSED:
            hint = "traffic is as it was; publish a version that loads, or revert the commit"
            raise Refused(f"the pins are refused: {outcome.refused}", hint=hint)
        waiting = outcome.refused or outcome.waiting
        if not waiting:
            say(f"the pins {digest} are effective at every gateway")
            return
        if waiting != told:
            told = waiting
            say(f"waiting: {waiting}")
        if time.monotonic() > end:
            raise TfsdeployError(
                f"the pins are not effective after {seconds:g} s: {waiting}",
                hint="nothing is undone, and the fleet goes on with it; `tfsdeploy status` shows how it stands",
            )
        time.sleep(LOOK_SECONDS)


def _remembered(configmaps: AccountConfigMaps, fleet: str) -> Release | None:
    """What gateways still follow, if somebody took it away; not what those of a fleet follow that was uninstalled."""
    return newest(configmaps.agents(f"{fleet}-gateways", leaving=False).values(), fleet)


def _look(configmaps: AccountConfigMaps, store: ReleaseConfigMaps, fleet: str, digest: str) -> Outcome:
    gateways = _statuses(configmaps.agents(f"{fleet}-gateways"))
    return judge(digest, _pins(configmaps, fleet), store.read(), gateways)


def _pins(configmaps: AccountConfigMaps, fleet: str) -> Pins | None:
    found = configmaps.get(f"{fleet}-pins")
    try:
        return None if found is None else pins_in(found)
    except ValueError:
        return None


def _statuses(urls: Mapping[str, str]) -> dict[str, GatewayStatus | None]:
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(urls, pool.map(_status, urls.values()), strict=True))


def _status(url: str) -> GatewayStatus | None:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=STATUS_SECONDS)
    try:
        connection.request("GET", "/v1/status")
        return decode_gateway(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()

"""Every replica that is discovered, followed; and what the gateway may believe of it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Mapping

from aiohttp import ClientSession

from tfsdeploy.agent.follow import AwakeClock, Follower
from tfsdeploy.agent.sources import ReplicaSource
from tfsdeploy.agent.status import GONE
from tfsdeploy.protocol.agents import LEASE_SECONDS, ReplicaStatus, decode_replica

log = logging.getLogger(__name__)

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")


class Replicas:
    """The replicas of a fleet.

    Args:
        source: discovers them.
        session: makes the requests.
        gateway: this gateway's name.
        changed: called whenever one of them says something new, falls silent, comes or goes.
    """

    def __init__(
        self, source: ReplicaSource, session: ClientSession, gateway: str, changed: Callable[[], None]
    ) -> None:
        self._source = source
        self._session = session
        self._gateway = gateway
        self._changed = changed
        self._clock = AwakeClock()
        self._followed: dict[str, _Followed] = {}
        self._unseen: dict[str, tuple[float, Follower]] = {}
        self._found: Mapping[str, str] = {}
        self._gone = False

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            async for found in self._source.replicas():
                self._found = found
                if not self._gone:
                    self._follow(found)
                    self._changed()
        finally:
            for name in list(self._followed):
                self._forget(name)

    @property
    def complete(self) -> bool:
        """Whether there are replicas, and each has answered or was silent for two beats."""
        return bool(self._followed) and all(one.follower.judged for one in self._followed.values())

    def statuses(self) -> dict[str, ReplicaStatus | None]:
        """What each replica says; None: nothing, or nothing that can be believed."""
        return {name: one.status() for name, one in self._followed.items()}

    def etags(self) -> dict[str, str]:
        """The documents that `statuses` comes from."""
        return {name: one.follower.etag for name, one in self._followed.items() if one.follower.etag}

    def acknowledge(self, etags: Mapping[str, str]) -> None:
        """Tell the replicas that Envoy does what follows from these documents."""
        for name, tag in etags.items():
            if name in self._followed:
                self._followed[name].follower.acknowledge(tag)

    async def farewell(self) -> None:
        """Follow nobody any more, and tell each replica that it need not wait for this gateway."""
        self._gone = True
        leaving, self._followed = self._followed, {}
        for one in leaving.values():
            one.task.cancel()
        unseen, self._unseen = self._waiting(), {}
        followers = (*(one.follower for one in leaving.values()), *(follower for _, follower in unseen.values()))
        await asyncio.gather(*(follower.farewell(GONE) for follower in followers))

    def resume(self) -> None:
        """Follow them all again after a farewell; what they say, they have to say anew."""
        self._gone = False
        self._follow(self._found)

    def _follow(self, found: Mapping[str, str]) -> None:
        for name in [name for name, one in self._followed.items() if found.get(name) != one.url]:
            self._forget(name)
        for name, url in found.items():
            if name not in self._followed:
                self._unseen.pop(name, None)
                self._followed[name] = self._start(name, url)

    def _start(self, name: str, url: str) -> _Followed:
        follower = Follower(self._session, url, clock=self._clock, changed=self._changed, gateway=self._gateway)
        return _Followed(name, url, follower, asyncio.create_task(follower.run(), name=f"follow {name}"))

    def _forget(self, name: str) -> None:
        one = self._followed.pop(name)
        one.task.cancel()
        # What it was found by may end before it does, as when all of a fleet is deleted at once.
        self._unseen = {**self._waiting(), name: (time.monotonic(), one.follower)}

    def _waiting(self) -> dict[str, tuple[float, Follower]]:
        """Replicas that are found no more, and may still wait for this gateway."""
        oldest = time.monotonic() - LEASE_SECONDS
        return {name: (since, follower) for name, (since, follower) in self._unseen.items() if since > oldest}


class _Followed:
    """One replica, and its document read once."""

    def __init__(self, name: str, url: str, follower: Follower, task: asyncio.Task[None]) -> None:
        self.url = url
        self.follower = follower
        self.task = task
        self._name = name
        self._read: tuple[str, ReplicaStatus | None] = ("", None)

    def status(self) -> ReplicaStatus | None:
        """What it says."""
        if self.follower.document is None:
            return None
        if self._read[0] != self.follower.etag:
            self._read = (self.follower.etag, self._believed(self.follower.document))
        return self._read[1]

    def _believed(self, document: bytes) -> ReplicaStatus | None:
        try:
            status = decode_replica(document)
        except ValueError as error:
            log.warning("%s: its status is nonsense: %s", self._name, error)
            return None
        if status.replica != self._name:
            # Its port may belong to somebody else by now.
            log.warning("%s: %s answers in its place", self._name, status.replica)
            return None
        for address in (status.rest, status.grpc):
            # Envoy would refuse all clusters for the sake of one.
            if not _is_address(address):
                log.warning("%s: %r is not an address", self._name, address)
                return None
        return status


def _is_address(text: str) -> bool:
    """Whether a text is ``host:port``, as Envoy takes it."""
    host, _, port = text.rpartition(":")
    if _PORT.match(port) is None or int(port) > 65535:
        return False
    if not host.startswith("["):
        return _HOST.match(host) is not None
    try:
        return host.endswith("]") and ipaddress.IPv6Address(host[1:-1]).scope_id is None
    except ValueError:
        return False

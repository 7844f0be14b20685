"""Who still uses what: gateways acknowledge documents, and what all of them have stopped using may be unloaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from tfsdeploy.agent.status import GONE

KEPT_DOCUMENTS = 500

START_SECONDS = 3.0
"""After its own start an agent cannot know which gateways there are; each polls within two beats."""


@dataclass(slots=True)
class Acknowledgements:
    """What each gateway has applied, on this process's own monotonic clock.

    Attributes:
        clock: seconds; never compared with another machine's.
        lease: seconds for which a gateway that polled must be waited for.
        drain: seconds after the last acknowledgement, for requests in flight.
        known: gateways that polled the agent before this one; they get a lease to be heard again.
    """

    clock: Callable[[], float]
    lease: float
    drain: float
    known: Collection[str] = ()
    _started: float = 0.0
    _number: int = 0
    _present: str = ""
    _documents: dict[str, int] = field(default_factory=dict)
    _polled: dict[str, float] = field(default_factory=dict)
    _applied: dict[str, int] = field(default_factory=dict)
    _since: dict[object, int] = field(default_factory=dict)
    _acknowledged: dict[object, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._polled = dict.fromkeys(self.known, self._started)

    def published(self, tag: str, leaving: Collection[object]) -> None:
        """A document went out in which ``leaving`` are on their way out."""
        if tag != self._present:
            # The same bytes again are another document: what a gateway applied of the first one, it may have undone.
            self._present = tag
            self._number += 1
            self._documents.pop(tag, None)
            self._documents[tag] = self._number
            while len(self._documents) > KEPT_DOCUMENTS:
                del self._documents[next(iter(self._documents))]
        for thing in leaving:
            self._since.setdefault(thing, self._number)
        for thing in [thing for thing in self._since if thing not in leaving]:
            self._since.pop(thing)
            self._acknowledged.pop(thing, None)

    def heard(self, gateway: str, applied: str) -> None:
        """A gateway polled, and says which document its Envoy has."""
        if applied == GONE:
            self._polled.pop(gateway, None)
            return
        self._polled[gateway] = self.clock()
        self._applied[gateway] = self._documents.get(applied, 0)

    def gateways(self) -> frozenset[str]:
        """Who polled within the lease."""
        now = self.clock()
        return frozenset(gateway for gateway, polled in self._polled.items() if now - polled < self.lease)

    def drained(self) -> frozenset[object]:
        """What every gateway within its lease has stopped using, for as long as requests may take."""
        now = self.clock()
        if now - self._started < START_SECONDS:
            return frozenset()
        waiting = self.gateways()
        for thing, number in self._since.items():
            if all(self._applied.get(gateway, 0) >= number for gateway in waiting):
                self._acknowledged.setdefault(thing, now)
            else:
                self._acknowledged.pop(thing, None)
        return frozenset(thing for thing, when in self._acknowledged.items() if now - when >= self.drain)

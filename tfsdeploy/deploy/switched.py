"""What a promote or a rollback did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switched:
    """What a promote or rollback did.

    Attributes:
        model: its name.
        from_: the version that had the traffic; None if there was none.
        to: the version that it went to.
        generation: the last one that was written.
        load: seconds until the version was available, and passed its gate, on all replicas.
        switch: seconds from the last change of traffic until it was effective on all gateways.
        total: seconds altogether.
        changed: False if it was so already.
        share: percent of the traffic that ``to`` has now.
        moved: False if the traffic was ``to``'s all the time, and only a change to ``from_`` that waited was ended.
    """

    model: str
    from_: int | None
    to: int
    generation: int
    load: float
    switch: float
    total: float
    changed: bool = True
    share: int = 100
    moved: bool = True

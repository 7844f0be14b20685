"""What a publisher says of a version beside its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tfsdeploy.store.record import Check, Record


def _unsigned(record: Record) -> Record:
    return record


@dataclass(frozen=True, slots=True)
class Said:
    """What stands in a commit record beside the files.

    Attributes:
        like: the record of the version of which this is a copy, which then is its record too; its number is given.
        check: what `push --check` found.
        digest: of the bytes that were looked at before; others are not published.
        sign: puts the publisher's signature on the record.
    """

    like: Record | None = None
    check: Check | None = None
    digest: str | None = None
    sign: Callable[[Record], Record] = _unsigned


NOTHING = Said()

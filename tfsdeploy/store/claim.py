"""The claim on a version number in an object store: who puts the version there, and whether it still does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tfsdeploy.store.record import File, in_one_line
from tfsdeploy.store.staging import Owner, lives

CLAIM_FILE = ".claim"
LEASE_SECONDS = 3600.0
"""How long a claim holds without a beat, by the store's clock; its owner stops at half of it by its own."""

RESERVATION_BYTES = 64
"""What stands where the record will be and is not longer is a reservation; the shortest record has more."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that is in the store: what it is, and the tag that its object got."""

    file: File
    etag: str

    def is_tag(self, etag: str | None) -> bool:
        """Whether a tag is this one; Azure writes them without quotes in its listings."""
        return etag is not None and etag.strip('"') == self.etag.strip('"')


@dataclass(frozen=True, slots=True)
class Claim:
    """Who puts a version into the store, and how far that is.

    Attributes:
        id: of this owner's claim, never used twice.
        by: ``user@host``.
        since: when it was made, UTC, ISO 8601.
        owner: the process; None if another tfsdeploy wrote what cannot be read here.
        listing: digest of the names and sizes of what is published, by which an interrupted push knows its own.
        released: whether its owner has given up.
        sent: the files that are there already, by path.
        beat: counts the beats.
    """

    id: str
    by: str
    since: str
    owner: Owner | None
    listing: str
    released: bool = False
    sent: Mapping[str, Sent] = field(default_factory=dict)
    beat: int = 0


def abandoned(claim: Claim, modified: datetime, here: Owner, at: datetime) -> bool:
    """Whether a claim may be taken over.

    Args:
        claim: as it stands in the store.
        modified: when it was written, by the store's clock. Stores refuse clocks that differ by more than a quarter of
            an hour, so that comparing it with ours is off by no more.
        here: this process.
        at: the time now.
    """
    if claim.released:
        return True
    if claim.owner is not None and lives(claim.owner, here) is False:
        return True
    return at - modified > timedelta(seconds=LEASE_SECONDS)


def encode(claim: Claim) -> bytes:
    """The claim as it stands in the store."""
    plain = {
        "id": claim.id,
        "by": claim.by,
        "since": claim.since,
        "owner": None if claim.owner is None else asdict(claim.owner),
        "listing": claim.listing,
        "released": claim.released,
        "beat": claim.beat,
        "sent": [[s.file.path, s.file.size, s.file.sha256, s.etag] for s in claim.sent.values()],
    }
    return json.dumps(plain, ensure_ascii=False).encode()


def decode(content: bytes) -> Claim:
    """A claim from its content; of nonsense only its age can be known."""
    try:
        plain: Any = json.loads(content)
        sent = [Sent(File(str(path), int(size), str(sha)), str(etag)) for path, size, sha, etag in plain["sent"]]
        return Claim(
            id=str(plain["id"]),
            by=in_one_line(str(plain["by"])),
            since=in_one_line(str(plain["since"])),
            owner=None if plain["owner"] is None else Owner(**plain["owner"]),
            listing=str(plain["listing"]),
            released=plain["released"] is True,
            sent={one.file.path: one for one in sent},
            beat=int(plain["beat"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Claim("", "somebody", "an unknown time", None, "")

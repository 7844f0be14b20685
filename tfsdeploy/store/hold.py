"""Hold a claim on a version number in an object store: only its owner writes, for as long as it is heard of.

MODEL/N/.claim is made by conditional creation, and replaced with every beat on the condition that it is still ours. One
whose owner has ended, has given up, or was not heard of for an hour can be taken over. As nobody can know that the
former owner will not wake up, who takes over first puts a reservation where the commit record will be: then the former
owner's record, which must be the first there, is refused, however long it slept.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from tfsdeploy.errors import Busy
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.processes import who
from tfsdeploy.store import claim as claims
from tfsdeploy.store.answers import ALLOW, StoreAway, StoreError, Taken
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.claim import CLAIM_FILE, RESERVATION_BYTES, Claim, Sent, abandoned, decode, encode
from tfsdeploy.store.source import now
from tfsdeploy.store.staging import owner

BEAT_SECONDS = 20.0

_LIMIT = 64 << 20
_ATTEMPTS = 10


class Hold:
    """A claim that is ours; beats in a thread of its own until it is let go.

    Args:
        bucket: the store.
        folder: ``MODEL/N``.
        claim: as it was written.
        etag: what it got.
        reservation: the tag of our reservation; None unless the claim was taken over.
        confirmed: seconds of CLOCK_BOOTTIME before it was written.
    """

    def __init__(
        self, bucket: Bucket, folder: str, claim: Claim, etag: str, reservation: str | None, confirmed: float
    ) -> None:
        self._bucket = bucket
        self._folder = folder
        self._claim = claim
        self._etag = etag
        self._confirmed = confirmed
        self._lost: Busy | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.reservation = reservation
        self._sent = dict(claim.sent)
        self._thread = threading.Thread(target=self._beating, name="claim", daemon=True)
        self._thread.start()

    @property
    def sent(self) -> Mapping[str, Sent]:
        """What is there already, of this attempt and of those before it."""
        return self._sent

    def add(self, sent: Sent) -> None:
        """Remember a file that is there; the next beat tells it."""
        self._sent[sent.file.path] = sent

    def check(self) -> None:
        """Go on only while nobody else can believe the claim to be theirs.

        Raises:
            Busy: it may have been taken over.
        """
        if self._lost is not None:
            raise self._lost
        # Suspended machines count too, which CLOCK_MONOTONIC would not.
        if time.clock_gettime(time.CLOCK_BOOTTIME) - self._confirmed > claims.LEASE_SECONDS / 2:
            raise self.gone("this publisher was not heard of for too long")

    def check_since(self, where: str) -> None:
        """As `check`, after a write that takes no condition: copying, and completing what was sent in parts.

        Whoever slept from right before it until the number was another's has written into that one's version.

        Args:
            where: what was written.
        """
        try:
            self.check()
        except Busy as lost:
            verify = f"`tfsdeploy verify {self._folder.replace('/', ' ')}`"
            raise Busy(
                f"{lost.message}, but this was written late, and perhaps over what another publisher had put there",
                where=where,
                hint=f"{verify} tells; if the version is damaged, publish its bytes under another number",
            ) from lost

    def beat(self, *, released: bool = False) -> None:
        """Tell the store that this publisher lives, and be told that the claim is still ours.

        Raises:
            Busy: it was taken over.
        """
        with self._lock:
            begun = time.clock_gettime(time.CLOCK_BOOTTIME)
            claim = replace(self._claim, sent=dict(self._sent), released=released, beat=self._claim.beat + 1)
            try:
                etag = put_own(self._bucket, f"{self._folder}/{CLAIM_FILE}", encode(claim), replaces=self._etag)
            except Taken as error:
                self._lost = self.gone("its claim was taken over")
                raise self._lost from error
            self._claim, self._etag, self._confirmed = claim, etag, begun

    def gone(self, why: str) -> Busy:
        """That the number is another's now."""
        return Busy(
            f"{why}; nothing was published",
            where=self._folder,
            hint="somebody else may have this number now; run this again to see",
        )

    def let_go(self) -> None:
        """Stop beating; the claim stays as it is."""
        self._ended.set()
        self._thread.join()

    def _beating(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self.beat()
            except Busy:
                return
            except StoreError:
                # The next one may get through; if none does, `check` ends it in time.
                continue


def acquire(bucket: Bucket, folder: str, listing: str) -> Hold:
    """Claim a version number.

    Args:
        bucket: the store.
        folder: ``MODEL/N``.
        listing: see `Claim.listing`.

    Returns:
        The claim, which beats already.

    Raises:
        Busy: somebody has it; says who, and since when.
        StoreError: the store has no conditional writes.
    """
    key = f"{folder}/{CLAIM_FILE}"
    here = owner(os.getpid())
    mine = Claim(uuid.uuid4().hex, who(), now(), here, listing)
    for _ in range(_ATTEMPTS):
        begun = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            etag = put_own(bucket, key, encode(mine), create=True)
            _check_conditional(bucket, key)
            return Hold(bucket, folder, mine, etag, None, begun)
        except Taken:
            found = bucket.get_with_stat(key, _LIMIT)
        if found is None:
            continue
        content, entry = found
        theirs = decode(content)
        if not abandoned(theirs, entry.modified, here, datetime.now(UTC)):
            raise Busy(
                f"{theirs.by} is publishing this number since {theirs.since}",
                where=folder,
                hint="wait for it, or leave out --version to take the next number",
            )
        taken = replace(mine, sent=theirs.sent)
        try:
            etag = put_own(bucket, key, encode(taken), replaces=entry.etag)
            reservation = _reserve(bucket, folder, mine.id)
        except Taken:
            continue
        return Hold(bucket, folder, taken, etag, reservation, begun)
    raise Busy(f"{_ATTEMPTS} others took this number over one after the other", where=folder)


def resumable(bucket: Bucket, folder: str, listing: str) -> bool:
    """Whether a number is that of an interrupted push of the same user and the same files."""
    found = bucket.get_with_stat(f"{folder}/{CLAIM_FILE}", _LIMIT)
    if found is None:
        return False
    content, entry = found
    claim = decode(content)
    same = (claim.by, claim.listing) == (who(), listing)
    return same and abandoned(claim, entry.modified, owner(os.getpid()), datetime.now(UTC))


def put_own(bucket: Bucket, key: str, data: bytes, *, create: bool = False, replaces: str | None = None) -> str:
    """`Bucket.put` of content that nobody else would write, so that a lost answer is no doubt.

    Returns:
        Its tag.

    Raises:
        Taken: somebody else's is there.
        StoreAway: the store gave no tag, and does not tell it.
    """
    try:
        etag = bucket.put(key, data, create=create, replaces=replaces)
    except Taken:
        found = bucket.get_with_stat(key, max(len(data), _LIMIT))
        if found is None or found[0] != data:
            raise
        etag = found[1].etag
    if etag is None:
        raise StoreAway("the store gives its objects no tags", where=bucket.where(key), hint="use S3, GCS or Azure")
    return etag


def _reserve(bucket: Bucket, folder: str, claim_id: str) -> str | None:
    """Stand where the record will be; None if a record is there already."""
    key = f"{folder}/{RECORD_FILE}"
    reservation = claim_id.encode()
    try:
        return put_own(bucket, key, reservation, create=True)
    except Taken:
        there = bucket.stat(key)
        if there is None or there.etag is None:
            raise
        if there.size > RESERVATION_BYTES:
            return None
        return put_own(bucket, key, reservation, replaces=there.etag)


def _check_conditional(bucket: Bucket, key: str) -> None:
    """A store that knows no conditions ignores them: it must refuse one that cannot hold."""
    try:
        bucket.put(key, b"", replaces='"0123456789abcdef0123456789abcdef"')
    except Taken:
        return
    with suppress(StoreError):
        # Emptied as it is, it would keep out for an hour whoever then says that the store has none.
        bucket.delete([key])
    raise StoreError(
        "the store ignores the conditions of writes, so two publishers could spoil a version",
        where=bucket.url,
        hint=ALLOW,
    )

"""Follow another agent's status by long polls, and notice when nothing comes from it any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import ClientError, ClientSession

from tfsdeploy.protocol.agents import BEAT_SECONDS, SILENT_BEATS, etag

WAIT_SECONDS = 30
"""How long one poll waits for a change."""

SILENT_SECONDS = SILENT_BEATS * BEAT_SECONDS

LOOK_SECONDS = 0.5
"""How often, at least, a follower looks whether the other is silent."""

RETRY_SECONDS = 0.1
"""Between a poll that failed and the next one."""

FAREWELL_SECONDS = 1.0

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


class AwakeClock:
    """The time during which this process ran.

    A process that was stopped, or had no processor, finds that nobody said anything meanwhile; that is not their fault.
    So a gap between two looks counts hardly more than the usual distance between looks.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._now = 0.0

    def now(self) -> float:
        """Seconds, of which only differences mean anything; to be asked at least every `LOOK_SECONDS`."""
        at = time.monotonic()
        self._now += min(at - self._last, 1.2 * LOOK_SECONDS)
        self._last = at
        return self._now


class Follower:
    """One agent, followed.

    Args:
        session: makes the requests; without a total timeout.
        url: base URL of the agent's status server.
        clock: shared by all followers of a process.
        changed: called whenever `document` or `judged` changed.
        gateway: who follows; told to the other with each poll if it is not empty.
    """

    def __init__(
        self, session: ClientSession, url: str, *, clock: AwakeClock, changed: Callable[[], None], gateway: str = ""
    ) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/v1/status"
        self._clock = clock
        self._changed = changed
        self._gateway = gateway
        self._applied = ""
        self._heard = clock.now()
        self._poll: asyncio.Task[None] | None = None
        self.document: bytes | None = None
        self.etag = ""
        self.judged = False

    def acknowledge(self, tag: str) -> None:
        """Tell the other, at once, that what follows from its document ``tag`` is done."""
        if tag != self._applied:
            self._applied = tag
            # The poll that waits carries the older acknowledgement.
            if self._poll is not None:
                self._poll.cancel()

    async def farewell(self, word: str) -> None:
        """Say ``word`` instead of an acknowledgement, once, when nothing is followed any more; unheard is fine."""
        query = {"gateway": self._gateway, "applied": word}
        try:
            async with asyncio.timeout(FAREWELL_SECONDS), self._session.get(self._url, params=query):
                pass
        except (ClientError, OSError):
            return

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self._poll = asyncio.create_task(self._ask())
            try:
                await self._guard(self._poll)
            finally:
                self._poll.cancel()
            if not self._poll.cancelled() and self._poll.exception() is not None:
                await self._rest()

    async def _guard(self, poll: asyncio.Task[None]) -> None:
        """Wait until a poll has ended, or is given up because nothing comes."""
        while not poll.done():
            left = self._heard + SILENT_SECONDS - self._clock.now()
            await asyncio.wait([poll], timeout=min(LOOK_SECONDS, max(0.0, left) + 0.01))
            self._judge()

    async def _rest(self) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._judge()

    def _judge(self) -> None:
        if self._clock.now() - self._heard <= SILENT_SECONDS:
            return
        self._heard = self._clock.now()
        if self._poll is not None:
            self._poll.cancel()
        was = (self.document, self.judged)
        # When it speaks again it has to say everything anew: what it said before may be long over.
        self.document, self.etag, self.judged = None, "", True
        if was != (None, True):
            self._changed()

    async def _ask(self) -> None:
        """One poll; what goes wrong ends it, and the silence that follows is judged elsewhere."""
        query = {"wait": str(WAIT_SECONDS)}
        query |= {"etag": self.etag} if self.etag else {}
        query |= {"gateway": self._gateway, "applied": self._applied} if self._gateway else {}
        body, began = bytearray(), time.monotonic()
        async with self._session.get(self._url, params=query, raise_for_status=True) as response:
            async for chunk in response.content.iter_any():
                self._heard = self._clock.now()
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise ValueError(f"{self._url}: more than {MAX_DOCUMENT_BYTES} bytes")
        self._take(bytes(body).strip(), time.monotonic() - began)

    def _take(self, document: bytes, seconds: float) -> None:
        if not document:
            raise ValueError(f"{self._url}: no document")
        tag = etag(document)
        if tag == self.etag and self.judged:
            if seconds < BEAT_SECONDS:
                # Its port may belong to another server by now, which knows nothing of waiting.
                raise ValueError(f"{self._url}: answers at once, and nothing new")
            return
        self.document, self.etag, self.judged = document, tag, True
        self._changed()

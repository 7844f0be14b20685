"""Follow the statuses of a fleet's replicas and gateways by long polls, as a command sees them.

Plain `http.client` and a thread each: a rollback must not pay for the import of an HTTP library.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlsplit

from tfsdeploy.protocol.agents import (
    BEAT_SECONDS,
    SILENT_BEATS,
    GatewayStatus,
    ReplicaStatus,
    decode_gateway,
    decode_replica,
    etag,
)
from tfsdeploy.targets.base import Target

Status = TypeVar("Status")

SILENT_SECONDS = BEAT_SECONDS * SILENT_BEATS
POLL_SECONDS = 30
REFRESH_SECONDS = 0.25
"""How often the target is asked which replicas and gateways there are."""


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a fleet at one moment.

    Attributes:
        replicas: the last status of each replica; None while it is silent.
        gateways: the same of each gateway.
        heard: every one of them has answered, or had the time to.
    """

    replicas: Mapping[str, ReplicaStatus | None] = field(default_factory=dict)
    gateways: Mapping[str, GatewayStatus | None] = field(default_factory=dict)
    heard: bool = True

    def members(self) -> dict[str, ReplicaStatus]:
        """The replicas that a barrier waits for: those that answer and are not leaving."""
        return {name: status for name, status in self.replicas.items() if status is not None and not status.leaving}


class Watch:
    """Follows every replica and gateway of a target while it is entered.

    Args:
        target: whose parts.
        replicas: follow the replicas too, not only the gateways.
    """

    def __init__(self, target: Target, *, replicas: bool = True) -> None:
        self._target = target
        self._with_replicas = replicas
        self._changed = _News()
        self._seen = 0
        self._replicas: dict[str, _Follower[ReplicaStatus]] = {}
        self._gateways: dict[str, _Follower[GatewayStatus]] = {}
        self._refreshed = 0.0

    def __enter__(self) -> Self:
        self._refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        followers: list[_Follower[Any]] = [*self._replicas.values(), *self._gateways.values()]
        for follower in followers:
            follower.stop()
        for follower in followers:
            follower.join()

    def view(self) -> View:
        """What is known now."""
        self._refresh()
        with self._changed.condition:
            self._seen = self._changed.count
            followers: list[_Follower[Any]] = [*self._replicas.values(), *self._gateways.values()]
            return View(
                {name: follower.status for name, follower in self._replicas.items()},
                {name: follower.status for name, follower in self._gateways.items()},
                all(follower.heard for follower in followers),
            )

    def wait(self, seconds: float) -> None:
        """Until something is other than in the last view, at most ``seconds``."""
        with self._changed.condition:
            self._changed.condition.wait_for(lambda: self._changed.count != self._seen, seconds)

    def until(self, done: Callable[[View], bool], seconds: float) -> View:
        """The first view for which ``done``, or the last one after ``seconds``."""
        end = time.monotonic() + seconds
        view = self.view()
        while not done(view) and (left := end - time.monotonic()) > 0:
            self.wait(min(left, REFRESH_SECONDS))
            view = self.view()
        return view

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._refreshed and now - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = now
        if self._with_replicas:
            wanted = {address.name: address.status for address in self._target.replicas()}
            _follow(self._replicas, wanted, decode_replica, self._changed)
        wanted = {address.name: address.status for address in self._target.gateways()}
        _follow(self._gateways, wanted, decode_gateway, self._changed)


class _News:
    """Counts changes, so that one that comes between a look and a wait is not slept through."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.count = 0

    @contextmanager
    def tell(self) -> Iterator[None]:
        """Change something that others look at."""
        with self.condition:
            yield
            self.count += 1
            self.condition.notify_all()


class _Follower(Generic[Status]):
    """One status server's long polls."""

    def __init__(self, url: str, decode: Callable[[bytes], Status], changed: _News) -> None:
        self.url = url
        self.status: Status | None = None
        self._decode = decode
        self._changed = changed
        self._started = self._alive = time.monotonic()
        self._answered = False
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name=f"follow {url}", daemon=True)
        self._thread.start()

    @property
    def heard(self) -> bool:
        """It has answered, or had the time to."""
        return self._answered or time.monotonic() - self._started > SILENT_SECONDS

    def stop(self) -> None:
        """Ask it to end; its connection is cut."""
        self._stopped.set()
        connected = self._socket
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        # A connection that fails is made anew.
        while not self._stopped.is_set():
            connection = HTTPConnection(urlsplit(self.url).netloc, timeout=SILENT_SECONDS)
            try:
                self._poll(connection)
            except (OSError, HTTPException, ValueError):
                self._silent_if_late()
                self._stopped.wait(0.05)
            finally:
                connection.close()

    def _poll(self, connection: HTTPConnection) -> None:
        connection.connect()
        self._socket = connection.sock
        path, last = "/v1/status", None
        while not self._stopped.is_set():
            connection.request("GET", path)
            response = connection.getresponse()
            body = b""
            # An empty line is a beat; the document is the only other line.
            while line := response.readline():
                self._alive = time.monotonic()
                body = line.strip() or body
            if body == last:
                # At its port may be another server by now, which knows nothing of waiting.
                self._stopped.wait(0.05)
                continue
            status, last = self._decode(body), body
            with self._changed.tell():
                self.status, self._answered = status, True
            path = f"/v1/status?wait={POLL_SECONDS}&etag={etag(body)}"

    def _silent_if_late(self) -> None:
        if self.status is None or time.monotonic() - self._alive < SILENT_SECONDS:
            return
        with self._changed.tell():
            self.status = None


def _follow(
    followers: dict[str, _Follower[Status]],
    wanted: Mapping[str, str],
    decode: Callable[[bytes], Status],
    changed: _News,
) -> None:
    """Follow what is new and let go of what is gone; a name with another address was restarted."""
    for name in [name for name, follower in followers.items() if wanted.get(name) != follower.url]:
        followers.pop(name).stop()
    for name, url in wanted.items():
        if name not in followers:
            followers[name] = _Follower(url, decode, changed)

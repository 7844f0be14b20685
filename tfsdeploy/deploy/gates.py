"""The gate of a promote: one request to the exact version on one replica, before any client's request goes there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from tfsdeploy.protocol.agents import ReplicaStatus
from tfsdeploy.store.golden import Golden, difference

# The first request of a version may compile its graph.
GATE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RestGate:
    """Asks a replica's new version over REST, past the gateway.

    Attributes:
        model: its name.
        version: the version.
        body: the request's JSON; None if none could be made: then the version's metadata is asked for.
        given: the operator gave the request, so it must succeed. One made from the signature may be no sensible
            input (a string that should be an image), so that the model's own refusal of it counts as an answer.
        golden: the version's golden requests, each of which must be answered as it says.
        timeout: seconds to wait for each answer.
    """

    model: str
    version: int
    body: bytes | None
    given: bool = False
    golden: tuple[Golden, ...] = ()
    timeout: float = GATE_SECONDS

    def __call__(self, replica: ReplicaStatus) -> str | None:
        """What is wrong with the replica's answers, or None."""
        for number, request in enumerate(self.golden):
            judge = partial(difference, request)
            if wrong := self._asked(replica, "POST", f":{request.method}", request.body, judge):
                return f"golden request {number}: {wrong}"
        if self.golden and not self.given:
            return None
        judge = partial(verdict, given=self.given)
        if self.body is None:
            return self._asked(replica, "GET", "/metadata", None, judge)
        return self._asked(replica, "POST", ":predict", self.body, judge)

    def _asked(
        self,
        replica: ReplicaStatus,
        method: str,
        what: str,
        body: bytes | None,
        judge: Callable[[int, bytes], str | None],
    ) -> str | None:
        connection = HTTPConnection(replica.rest, timeout=self.timeout)
        path = f"/v1/models/{quote(self.model)}/versions/{self.version}{what}"
        try:
            connection.request(method, path, body, {"content-type": "application/json"} if body is not None else {})
            answer = connection.getresponse()
            return judge(answer.status, answer.read())
        except TimeoutError:
            return f"no answer in {self.timeout:g} s"
        except (OSError, HTTPException) as error:
            return f"no answer: {error or type(error).__name__}"
        finally:
            connection.close()


def verdict(status: int, body: bytes, *, given: bool) -> str | None:
    """What is wrong with an answer, or None.

    Args:
        status: HTTP status.
        body: the answer's body.
        given: see `RestGate`.
    """
    plain = _json(body)
    if status == 200:
        return None if isinstance(plain, dict) and "error" not in plain else "the answer is no JSON object"
    if status == 400 and not given:
        return None
    words = plain.get("error") if isinstance(plain, dict) else None
    return f"HTTP {status}: {words or body[:300].decode(errors='replace')}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None

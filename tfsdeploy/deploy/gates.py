"""The gate of a promote: one request to the exact version on one replica, before any client's request goes there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from tfsdeploy.protocol.agents import ReplicaStatus

# The first request of a version may compile its graph.
GATE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RestGate:
    """Asks a replica's new version over REST, past the gateway.

    Attributes:
        model: its name.
        version: the version.
        body: the request's JSON; None if none could be made: then the version's metadata is asked for.
        golden: the operator gave the request, so it must succeed. One made from the signature may be no sensible
            input (a string that should be an image), so that the model's own refusal of it counts as an answer.
        timeout: seconds to wait for the answer.
    """

    model: str
    version: int
    body: bytes | None
    golden: bool = False
    timeout: float = GATE_SECONDS

    def __call__(self, replica: ReplicaStatus) -> str | None:
        """What is wrong with the replica's answer, or None."""
        connection = HTTPConnection(replica.rest, timeout=self.timeout)
        path = f"/v1/models/{quote(self.model)}/versions/{self.version}"
        try:
            if self.body is None:
                connection.request("GET", f"{path}/metadata")
            else:
                connection.request("POST", f"{path}:predict", self.body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return verdict(answer.status, answer.read(), golden=self.golden)
        except TimeoutError:
            return f"no answer in {self.timeout:g} s"
        except (OSError, HTTPException) as error:
            return f"no answer: {error or type(error).__name__}"
        finally:
            connection.close()


def verdict(status: int, body: bytes, *, golden: bool) -> str | None:
    """What is wrong with an answer, or None.

    Args:
        status: HTTP status.
        body: the answer's body.
        golden: see `RestGate`.
    """
    plain = _json(body)
    if status == 200:
        return None if isinstance(plain, dict) and "error" not in plain else "the answer is no JSON object"
    if status == 400 and not golden:
        return None
    words = plain.get("error") if isinstance(plain, dict) else None
    return f"HTTP {status}: {words or body[:300].decode(errors='replace')}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None

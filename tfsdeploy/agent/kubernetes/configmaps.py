"""Single requests to the API server from inside the cluster: ConfigMaps to read and write, EndpointSlices to list.

Plain `http.client`: an agent makes such a request when pins are folded, which is not worth the memory of a library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from tfsdeploy.agent.kubernetes.account import Account
from tfsdeploy.agent.kubernetes.endpoints import GROUP, RESOURCE, SERVICE_LABEL, agents
from tfsdeploy.agent.kubernetes.watch import said
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.release.configmap import Away, Stale

SECONDS = 10.0
"""How long the API server may take for an answer."""

_HINTS = {403: "give the agent's Role this verb, as the rendered one has it", 401: "mount a fresh token"}
_DELETED = "somebody deleted it, and agents may only change it: any `tfsdeploy promote` or `rollback` makes it anew"
_AWAY = (429, 500, 502, 503, 504)


class AccountConfigMaps:
    """The ConfigMaps of a service account's namespace: see `tfsdeploy.release.configmap.ConfigMaps`.

    Args:
        account: who asks.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self.namespace = account.namespace

    def get(self, name: str) -> Mapping[str, Any] | None:
        """See `ConfigMaps.get`."""
        code, body = self._ask("GET", self._path(name), allowed=(404,))
        return None if code == 404 else self._object(body)

    def create(self, configmap: Mapping[str, Any]) -> None:
        """See `ConfigMaps.create`."""
        code, body = self._ask("POST", self._path(), configmap, allowed=(409,))
        if code == 409:
            raise Stale(said(body))

    def replace(self, configmap: Mapping[str, Any]) -> None:
        """See `ConfigMaps.replace`; one that was deleted meanwhile is stale too."""
        code, body = self._ask("PUT", self._path(configmap["metadata"]["name"]), configmap, allowed=(404, 409))
        if code in (404, 409):
            raise Stale(said(body))

    def agents(self, service: str, *, leaving: bool = True) -> dict[str, str]:
        """The agents behind a headless Service: pod name -> base URL; those that leave too, or not."""
        query = urlencode({"labelSelector": f"{SERVICE_LABEL}={service}"})
        _, body = self._ask("GET", f"{self._account.path(GROUP, RESOURCE)}?{query}")
        return agents(self._object(body).get("items") or (), leaving=leaving)

    def _object(self, body: bytes) -> Mapping[str, Any]:
        """What the API server answered; whatever is none of its objects comes from somebody in between."""
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Away(f"something else answers in place of the API server at {self._account.url}")
        return found

    def _path(self, name: str = "") -> str:
        return self._account.path("api/v1", "configmaps", name)

    def _ask(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, allowed: tuple[int, ...] = ()
    ) -> tuple[int, bytes]:
        account = self._account
        address = urlsplit(account.url)
        headers = account.headers() | ({"Content-Type": "application/json"} if document else {})
        where = f"{method} {path.partition('?')[0]}"
        connection = HTTPSConnection(address.hostname or "", address.port, timeout=SECONDS, context=account.tls())
        try:
            connection.request(method, path, json.dumps(document) if document else None, headers)
            answer = connection.getresponse()
            code, body = answer.status, answer.read()
        except (OSError, HTTPException) as error:
            words = f"the API server at {account.url} does not answer: {error or type(error).__name__}"
            raise Away(words, where=where) from error
        finally:
            connection.close()
        if code < 300 or code in allowed:
            return code, body
        kind = Away if code in _AWAY else TfsdeployError
        hint = _DELETED if (method, code) == ("POST", 403) else _HINTS.get(code, "")
        raise kind(f"the API server refuses with {code}: {said(body)}", where=where, hint=hint)

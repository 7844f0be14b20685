"""How a command reaches a cluster: time limits, safe retries, and what the API server's refusals mean."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.release.configmap import Away
from tfsdeploy.report import Report, Silent
from tfsdeploy.targets.kubernetes import kubeconfig

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0

PATIENCE_SECONDS = 60.0
"""How long a safe request is tried again while the API server is away: a restart of it takes less."""

SILENT_SECONDS = 1.0
"""After this time it is told that the API server is waited for."""

_AWAY = (429, 500, 502, 503, 504)
"""Answers of a server that is starting, stopping or overloaded."""


class NotThere(Exception):
    """The object, or the kind, does not exist."""


class Denied(TfsdeployError):
    """The user may not do this."""


class Collision(Exception):
    """The object is not as the request supposes: it exists already, or was changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which cluster and namespace.

    Attributes:
        context: of the kubeconfig; None: the current one.
        namespace: None: that of the context, else ``default``.
        patience: seconds for which a safe request is tried again while the API server is away.
    """

    context: str | None = None
    namespace: str | None = None
    patience: float = PATIENCE_SECONDS


class Connection:
    """Requests to one API server; opened at the first one.

    Args:
        place: which cluster.
        report: hears of an API server that is waited for.
    """

    def __init__(self, place: Place, report: Report | None = None) -> None:
        self._place = place
        self._report = report or Silent()
        self._lock = threading.Lock()
        self._sessions = threading.local()
        self._configuration: Any = None

    @property
    def configuration(self) -> Any:
        """The `kubernetes.client.Configuration`: address, certificates, credentials.

        Raises:
            UsageError: there is no kubeconfig, or no such context.
            TfsdeployError: the user's credentials plug-in failed.
        """
        with self._lock:
            if self._configuration is None:
                self._configuration = kubeconfig.configuration(self._place.context)
        return self._configuration

    @cached_property
    def namespace(self) -> str:
        """The namespace that is meant."""
        if self._place.namespace:
            return self._place.namespace
        return str(self.context_entry["context"].get("namespace") or "default")

    @cached_property
    def context_entry(self) -> Mapping[str, Any]:
        """The context that is meant, as the kubeconfig has it.

        Raises:
            UsageError: there is no kubeconfig, or no such context.
        """
        return kubeconfig.context_entry(self._place.context)

    @property
    def context(self) -> str:
        """The name of the context that is meant."""
        return str(self.context_entry["name"])

    def credentials(self) -> dict[str, str]:
        """The headers that say who asks; to be asked for anew with every request: tokens of clouds last an hour."""
        return {
            str(row["key"]): str(row["value"])
            for row in self.configuration.auth_settings().values()
            if row["in"] == "header"
        }

    def document(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """Send one request, and read the object that is answered; see `ask`.

        Raises:
            TfsdeployError: no object came, so that whoever answers is no API server.
        """
        answer = self.ask(method, path, **how)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict) or "kind" not in found:
            raise TfsdeployError(
                f"what answers is no API server: {' '.join(answer.text[:80].split())}",
                where=self.configuration.host,
                hint="the kubeconfig's server must be the API server's own address, and no page to log in before it",
            )
        return found

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        safe: bool = True,
        stream: bool = False,
    ) -> requests.Response:
        """Send one request.

        Args:
            method: of HTTP.
            path: below the server's address, without a leading slash.
            query: its parameters.
            body: what is sent.
            content_type: of the body.
            safe: it may be sent again if nobody knows what became of it.
            stream: the answer's body is read by the caller.

        Raises:
            NotThere: 404.
            Collision: 409, with the server's words.
            Away: it did not answer for the place's patience, or did not at all if the request is not safe.
            Denied: the user may not.
            TfsdeployError: refused.
        """
        begun, told, pause = time.monotonic(), False, 0.1
        end = begun + (self._place.patience if safe else 0.0)
        while True:
            try:
                answer = self._send(method, path, query, body, content_type, stream)
            except requests.RequestException as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise TfsdeployError(
                        f"the API server is not the one that is meant: {error}",
                        where=self.configuration.host,
                        hint="the kubeconfig's certificate-authority must be that of this cluster",
                    ) from error
                if isinstance(error, ValueError):
                    # An address that is none does not become one.
                    raise UsageError(f"the kubeconfig's server cannot be asked: {error}") from error
                reason = _innermost(error)
            else:
                if answer.status_code not in _AWAY:
                    return _checked(answer, method, path)
                reason = _words(answer)
            if time.monotonic() > end:
                raise Away(
                    f"the API server does not answer: {reason}",
                    where=self.configuration.host,
                    hint="what serves, serves on; run this again when the API server is back",
                )
            if not told and time.monotonic() - begun > SILENT_SECONDS:
                told = True
                left = round(end - time.monotonic())
                self._report.waiting(
                    f"the API server {self.configuration.host} does not answer: {reason}; asking for {left} s more"
                )
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2.0, 2 * pause)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        stream: bool,
    ) -> requests.Response:
        configuration = self.configuration
        headers = {"accept": "application/json", "content-type": content_type, **self.credentials()}
        return self._session().request(
            method,
            f"{configuration.host}/{path}",
            params=query,
            data=body,
            headers=headers,
            # With each request: otherwise the surroundings' REQUESTS_CA_BUNDLE would come before it.
            verify=(configuration.ssl_ca_cert or True) if configuration.verify_ssl else False,
            timeout=(CONNECT_SECONDS, None if stream else ANSWER_SECONDS),
            stream=stream,
            proxies=dict.fromkeys(("http", "https"), configuration.proxy) if configuration.proxy else None,
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            configuration = self.configuration
            session = requests.Session()
            if configuration.tls_server_name:
                session.mount("https://", _NamedHost(configuration.tls_server_name))
            if configuration.cert_file:
                session.cert = (configuration.cert_file, configuration.key_file)
            self._sessions.session = session
        return session


class _NamedHost(HTTPAdapter):
    """Expects the certificate of another name than that in the address (``tls-server-name`` of a kubeconfig)."""

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__()

    def init_poolmanager(self, *words: Any, **options: Any) -> None:
        super().init_poolmanager(*words, **options, server_hostname=self._name, assert_hostname=self._name)


def _checked(answer: requests.Response, method: str, path: str) -> requests.Response:
    if answer.ok:
        return answer
    words = _words(answer)
    if answer.status_code == 404:
        raise NotThere(words)
    if answer.status_code == 409:
        raise Collision(words)
    if answer.status_code == 401:
        raise TfsdeployError("the cluster does not know who asks", where=path, hint="log in anew, as for kubectl")
    if answer.status_code == 403:
        hint = "`tfsdeploy doctor` says everything that the user needs and has not"
        raise Denied(f"not allowed: {words}", where=f"{method} {path}", hint=hint)
    raise TfsdeployError(f"the API server refuses: {words}", where=f"{method} {path}")


def _innermost(error: BaseException) -> str:
    """What the operating system said, without the layers that each have put around it."""
    while True:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        inner = inner if isinstance(inner, BaseException) else error.__cause__
        if inner is None:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        error = inner


def _words(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500] or f"HTTP {answer.status_code}"

"""A stand-in for what gives workloads credentials, and for a store that takes these: on loopback, in memory.

It is none of AWS STS, the container endpoints of ECS and EKS, and Microsoft Entra, and no object store. It looks at
what each of them would have to be told (token, role, client, tenant), gives what they would give, and answers the
one object's bytes to whoever brings just that; it verifies no signature. Formats follow
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html,
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html and
https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

TLS = Path(__file__).parent / "cases" / "server" / "tls"
TOKEN, ROLE, CLIENT, TENANT = (
    "token-of-the-pod-8277e0910d75",
    "arn:aws:iam::123456789012:role/models",
    "client",
    "tenant",
)
KEY, SESSION, BEARER = "ASIAIDENTITY", "session-0195b4ba255e7f1b", "bearer-3fc4ccfe745870e2"
SECRETS = (TOKEN, SESSION, BEARER)
CONTENT = b"of a model"


@dataclass
class Identities:
    """A running stand-in.

    Attributes:
        port: of the store, Entra, and as a proxy the container endpoints.
        tls_port: of STS, which clients ask over TLS only; its authority is ``TLS / "ca.crt"``.
        refused: the status that whoever asks for credentials gets; None: credentials.
        said: what is said with it; None: as little as can be.
    """

    port: int = 0
    tls_port: int = 0
    refused: int | None = None
    said: str | None = None

    def answer(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Status and body of an answer."""
        parts = urlsplit(url)
        given = parse_qs(parts.query) | parse_qs(body.decode())
        if "AssumeRoleWithWebIdentity" in given.get("Action", ()):
            right = (given["WebIdentityToken"], given["RoleArn"]) == ([TOKEN], [ROLE])
            return self._given(right, _ASSUMED, _DENIED)
        if parts.path == "/v2/credentials" and parts.hostname == "169.254.170.2":
            return self._given(True, _CONTAINER, "{}")
        if parts.path == "/v1/credentials" and parts.hostname == "169.254.170.23":
            return self._given(headers.get("authorization") == TOKEN, _CONTAINER, "{}")
        if parts.path == f"/{TENANT}/oauth2/v2.0/token":
            right = (given["client_assertion"], given["client_id"]) == ([TOKEN], [CLIENT])
            return self._given(right, json.dumps({"access_token": BEARER, "expires_in": 3600}), '{"error": "invalid"}')
        signed = headers.get("authorization", "")
        session = f"Credential={KEY}/" in signed and headers.get("x-amz-security-token") == SESSION
        return (200, CONTENT.decode()) if session or signed == f"Bearer {BEARER}" else (403, "")

    def _given(self, right: bool, credentials: str, denied: str) -> tuple[int, str]:
        if self.refused is not None:
            return self.refused, denied if self.said is None else self.said
        return (200, credentials) if right else (401, denied)


@contextmanager
def identities() -> Iterator[Identities]:
    """A stand-in, for as long as the context lasts."""
    made = Identities()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = made.answer(self.path, headers, body)
            self.send_response(status)
            for name, value in (
                ("Content-Length", str(len(text))),
                ("ETag", '"1"'),
                ("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.crt", TLS / "server.key")
    with ExitStack() as stack:
        for tls in (False, True):
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            server.daemon_threads = True
            if tls:
                server.socket = context.wrap_socket(server.socket, server_side=True)
                made.tls_port = server.server_address[1]
            else:
                made.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield made


_ASSUMED = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>{SESSION}</SessionToken>
<SecretAccessKey>secret</SecretAccessKey><Expiration>2099-10-24T23:00:23Z</Expiration><AccessKeyId>{KEY}</AccessKeyId>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
_DENIED = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
_CONTAINER = json.dumps(
    {"AccessKeyId": KEY, "SecretAccessKey": "secret", "Token": SESSION, "Expiration": "2099-10-24T23:00:23Z"}
)

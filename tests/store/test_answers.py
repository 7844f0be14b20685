"""Every way in which a store says no, by real requests to a server that answers as the case says."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from tests.s3 import KEY, SECRET
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.answers import StoreAway, StoreError
from tfsdeploy.store.bucket import open_bucket

TLS = Path(__file__).parents[1] / "cases" / "server" / "tls"
CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "store" / "answers.yaml").read_text())


class _Handler(BaseHTTPRequestHandler):
    status, body = 200, b""
    ranges: ClassVar[list[str | None]] = []
    signed: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def do_GET(self) -> None:
        self.ranges.append(self.headers["Range"])
        self.signed.append(self.headers["Authorization"] or "")
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server, _serving(server) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=4), "base": 2}
    monkeypatch.setattr("tfsdeploy.store.connect._RETRY", {"max_retries": 1, "backoff": backoff})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_answers(case: dict[str, Any], endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Handler, "status", case["status"])
    monkeypatch.setattr(_Handler, "body", case["body"].encode())
    bucket = open_bucket("s3://models/prod", {"endpoint": endpoint})
    with pytest.raises(StoreError) as raised:
        list(bucket.list("ranker"))
    error = raised.value
    assert error.message == case["message"]
    assert isinstance(error, StoreAway) is case.get("away", False)
    assert case.get("hint", "") in error.hint
    assert error.where == "s3://models/prod/ranker"
    assert "secret" not in str(error).replace("the secret", "")


@pytest.mark.parametrize("case", [case for case in CASES if case["status"] != 200], ids=lambda case: case["name"])
def test_answers_to_writes(case: dict[str, Any], endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Handler, "status", case["status"])
    monkeypatch.setattr(_Handler, "body", case["body"].encode())
    with pytest.raises(StoreError) as raised:
        open_bucket("s3://models/prod", {"endpoint": endpoint}).put("a", b"1", create=True)
    assert raised.value.message == case["message"]


def test_why_it_is_not_told_what_is_there(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to HEAD has no words; those of another question are not paid for with the whole object."""
    monkeypatch.setattr(_Handler, "status", 403)
    monkeypatch.setattr(_Handler, "body", b"<Error><Code>RequestTimeTooSkewed</Code></Error>")
    monkeypatch.setattr(_Handler, "ranges", asked := [])
    with pytest.raises(StoreError, match="refuses this machine's clock"):
        open_bucket("s3://models/prod", {"endpoint": endpoint}).stat("a")
    assert asked == ["bytes=0-0"]


@pytest.mark.parametrize(
    ("options", "environment", "profile", "region"),
    [
        ({"region": "eu-central-1"}, {"AWS_REGION": "us-west-2"}, "", "eu-central-1"),
        ({}, {"AWS_REGION": "us-west-2"}, "[default]\nregion = sa-east-1\n", "us-west-2"),
        ({}, {}, "[default]\nregion = sa-east-1\n", "sa-east-1"),
        ({}, {}, "", "us-east-1"),
    ],
)
def test_the_region_that_requests_are_signed_for(
    options: dict[str, object],
    environment: dict[str, str],
    profile: str,
    region: str,
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text(profile)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    for name, value in (environment | files).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_Handler, "body", b"hello")
    monkeypatch.setattr(_Handler, "signed", signed := [])
    assert open_bucket("s3://models", {"endpoint": endpoint, **options}).get("a") == b"hello"
    (authorization,) = signed
    assert re.search(rf"Credential={KEY}/\d{{8}}/{region}/s3/aws4_request,", authorization), authorization


def test_no_credentials_anywhere(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    # The machine's own identity is asked for last, at an address where here nobody has any.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"{endpoint}/169.254.169.254")
    monkeypatch.setattr(_Handler, "status", 404)
    with pytest.raises(StoreError, match="no credentials were found"):
        open_bucket("s3://models/prod", {"endpoint": endpoint}).get("a")


def test_a_private_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Handler, "body", b"hello")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.crt", TLS / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with _serving(server) as port:
            options = {"endpoint": f"https://localhost:{port}"}
            with pytest.raises(StoreError, match="nobody trusted signed its certificate"):
                open_bucket("s3://models", options).get("a")
            assert open_bucket("s3://models", {**options, "ca_file": str(TLS / "ca.crt")}).get("a") == b"hello"
            with pytest.raises(TfsdeployError, match="holds no certificate"):
                open_bucket("s3://models", {**options, "ca_file": __file__})

"""The identities of workloads open a store: AWS' web identity and container credentials, Azure's federated token.

The store, and those who give the credentials, are stand-ins: see `tests.identities`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.identities import CLIENT, CONTENT, ROLE, SECRETS, TENANT, TLS, TOKEN, Identities, identities
from tests.ports import free_ports
from tests.s3 import PUBLIC, S3
from tfsdeploy.store.answers import StoreAway, StoreClosed
from tfsdeploy.store.bucket import Bucket, open_bucket
from tfsdeploy.targets.local.credentials import is_credential


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Identities]:
    """A stand-in, and no credentials; it is the proxy for the addresses that only a cloud has."""
    for name in [name for name in os.environ if is_credential(name)]:
        monkeypatch.delenv(name)
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=4), "base": 2}
    monkeypatch.setattr("tfsdeploy.store.connect._RETRY", {"max_retries": 1, "backoff": backoff})
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(TOKEN)
    with identities() as made:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{made.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield made


KINDS = {
    "web identity": {
        "AWS_WEB_IDENTITY_TOKEN_FILE": "token",
        "AWS_ROLE_ARN": ROLE,
        "AWS_ENDPOINT_URL_STS": "https://localhost:{tls_port}",
    },
    "task of ECS": {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials"},
    "pod of EKS": {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "token",
    },
    "federated token": {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_FEDERATED_TOKEN_FILE": "token",
        "AZURE_AUTHORITY_HOST": "http://127.0.0.1:{port}",
    },
}


def _open(given: Identities, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in KINDS[kind].items():
        text = value.format(port=given.port, tls_port=given.tls_port)
        monkeypatch.setenv(name, str(folder / text) if text == "token" else text)
    options = {"endpoint": f"http://127.0.0.1:{given.port}", "ca_file": str(TLS / "ca.crt")}
    if kind != "federated token":
        return open_bucket("s3://models/prod", {**options, "region": "us-east-1"})
    return open_bucket("az://models/prod", {**options, "endpoint": f"{options['endpoint']}/account"})


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_the_store(kind: str, given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _open(given, kind, tmp_path, monkeypatch).get("a") == CONTENT


@pytest.mark.parametrize("refused", [400, 403, 404])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("web identity", "the identity's role cannot be assumed"),
        ("task of ECS", "no credentials were found"),
        ("pod of EKS", "no credentials were found"),
        ("federated token", "the identity is given no token"),
    ],
)
def test_who_gives_none_is_not_taken_for_the_store(
    kind: str, words: str, refused: int, given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.refused = refused
    with pytest.raises(StoreClosed, match=words) as raised:
        _open(given, kind, tmp_path, monkeypatch).get("a")
    assert not [secret for secret in SECRETS if secret in str(raised.value)]


NOT_NOW = "who gives the identity its credentials does not answer, or not now"


@pytest.mark.parametrize("refused", [408, 429, 500, 503])
@pytest.mark.parametrize("kind", KINDS)
def test_who_gives_none_just_now_is_asked_again(
    kind: str, refused: int, given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.refused = refused
    bucket = _open(given, kind, tmp_path, monkeypatch)
    with pytest.raises(StoreAway, match=NOT_NOW) as raised:
        bucket.get("a")
    assert not [secret for secret in SECRETS if secret in str(raised.value)]
    given.refused = None
    assert bucket.get("a") == CONTENT


@pytest.mark.parametrize("code", ["Throttling", "IDPCommunicationError"])
def test_sts_says_400_where_it_is_only_busy(
    code: str, given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.refused, given.said = 400, f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"
    with pytest.raises(StoreAway, match=NOT_NOW):
        _open(given, "web identity", tmp_path, monkeypatch).get("a")


@pytest.mark.parametrize(
    ("kind", "name", "scheme"),
    [("web identity", "AWS_ENDPOINT_URL_STS", "https"), ("federated token", "AZURE_AUTHORITY_HOST", "http")],
)
def test_who_gives_them_does_not_listen(
    kind: str, name: str, scheme: str, given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, kind, {**KINDS[kind], name: f"{scheme}://127.0.0.1:{free_ports(1)[0]}"})
    with pytest.raises(StoreAway, match=NOT_NOW):
        _open(given, kind, tmp_path, monkeypatch).get("a")


def test_a_certificate_of_who_gives_them_does_not_pass(
    given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open(given, "web identity", tmp_path, monkeypatch)
    bucket = open_bucket("s3://models/prod", {"endpoint": f"http://127.0.0.1:{given.port}", "region": "us-east-1"})
    with pytest.raises(StoreClosed, match="nobody trusted signed its certificate"):
        bucket.get("a")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "task of ECS"])
def test_a_token_that_is_not_there(
    kind: str, given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").unlink()
    with pytest.raises(StoreClosed, match="the token of the workload's identity cannot be read"):
        _open(given, kind, tmp_path, monkeypatch).get("a")


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("web identity", ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"), "AWS_ENDPOINT_URL_STS is not https://"),
        ("pod of EKS", ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""), "is not set"),
    ],
)
def test_what_the_client_would_pass_over_is_told(
    kind: str, change: tuple[str, str], words: str, given: Identities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, kind, {**KINDS[kind], change[0]: change[1]})
    with pytest.raises(StoreClosed, match=words):
        _open(given, kind, tmp_path, monkeypatch)
    # Keys come first, and nobody in particular needs nothing.
    assert open_bucket("s3://models", {"anonymous": True})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert open_bucket("s3://models")


def test_nobody_in_particular_reads_what_is_public(s3: S3, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{s3.make_bucket(PUBLIC)}/prod"
    for where in (url, s3_bucket):
        s3.open(where).put("a", CONTENT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert s3.open(url, anonymous=True).get("a") == CONTENT
    with pytest.raises(StoreClosed, match="does not know the access key"):
        s3.open(url).get("a")
    with pytest.raises(StoreClosed, match="denies this"):
        s3.open(s3_bucket, anonymous=True).get("a")

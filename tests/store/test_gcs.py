"""What is GCS' own in a `gs://` store, on a stand-in: who is let in, how it refuses, how often a name may change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.gcs import MACHINE_TOKEN, READER_TOKEN, Gcs, new_key, write_account
from tfsdeploy.store.answers import StoreAway, StoreClosed, StoreError, meaning_of
from tfsdeploy.store.handed import CREDENTIALS, HandedBucket, to_hand_over
from tfsdeploy.store.objects import ObjectStore

Example = Callable[..., Path]

SECRET_PEM = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def url(gcs: Gcs) -> str:
    return f"{gcs.make_bucket('models')}/prod"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again as often as in earnest, but soon."""
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=4), "base": 2}
    retry = {"max_retries": 6, "backoff": backoff, "retry_timeout": timedelta(seconds=20)}
    monkeypatch.setattr("tfsdeploy.store.connect._RETRY_GCS", retry)


def _refused(gcs: Gcs, url: str, kind: type[StoreError] = StoreClosed) -> str:
    """What it says however it is asked, which is always the same, and no secret."""
    said = set()
    for ask in (
        lambda: gcs.open(url).get("a"),
        lambda: list(gcs.open(url).list()),
        lambda: list(gcs.open(url).folders()),
        lambda: gcs.open(url).put("a", b"", create=True),
        lambda: gcs.open(url).upload("a", [b""]),
        lambda: gcs.open(url).delete(["a"]),
    ):
        with pytest.raises(kind) as raised:
            ask()
        said.add(raised.value.message)
        assert not [secret for secret in gcs.secrets if secret in str(raised.value)]
    (words,) = said
    return words


@pytest.mark.parametrize(
    "variable", ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY"]
)
def test_a_service_account(gcs: Gcs, url: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = gcs.credentials
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv(variable, file.read_text() if variable.endswith("KEY") else str(file))
    gcs.open(url).put("a", b"1")


def test_the_file_that_gcloud_leaves(gcs: Gcs, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    gcs.credentials.rename(folder / "application_default_credentials.json")
    gcs.open(url).put("a", b"1")


def test_the_identity_of_a_workload(gcs: Gcs, url: str, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, f"127.0.0.1:{gcs.port}")
    assert "no credentials were found" in _refused(gcs, url)
    gcs.has_identity = True
    gcs.open(url).put("a", b"1")


def test_a_token(gcs: Gcs, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gcs.open(url).put("a", b"1")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", MACHINE_TOKEN)
    gcs.open(url).put("a", b"1")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "ya29.expired")
    assert "the store does not accept the credentials" in _refused(gcs, url)


def test_who_may_only_read(gcs: Gcs, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gcs.open(url).put("a", b"1")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", READER_TOKEN)
    reader = gcs.open(url)
    assert reader.get("a") == b"1"
    for write in (lambda: reader.put("a", b""), lambda: reader.upload("a", [b""]), lambda: reader.delete(["a"])):
        with pytest.raises(StoreClosed, match="denies this"):
            write()


def test_who_is_not_let_in(gcs: Gcs, url: str, tmp_path: Path) -> None:
    assert "there is no such bucket" in _refused(gcs, "gs://nowhere/prod")
    write_account(gcs.credentials, new_key())
    assert "the store does not accept the credentials" in _refused(gcs, url)


def test_nobody_in_particular(gcs: Gcs, url: str) -> None:
    with pytest.raises(StoreClosed, match="denies this"):
        gcs.open(url, anonymous=True).get("a")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "external_account"}, r"of a kind that cannot be used here.*GOOGLE_BEARER_TOKEN"),
        ({"private_key": "secret"}, "the private key in Google's credentials cannot be read"),
        ({"private_key": SECRET_PEM}, "the private key in Google's credentials cannot be read"),
        ({"private_key": 7}, "not what they should be"),
        (None, r"cannot be read.*GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_files_that_are_no_credentials(changes: dict[str, object] | None, words: str, gcs: Gcs, url: str) -> None:
    if changes is None:
        gcs.credentials.unlink()
    else:
        write_account(gcs.credentials, new_key(), **changes)
    with pytest.raises(StoreClosed, match=words) as raised:
        gcs.open(url)
    assert "secret" not in str(raised.value)


def test_two_service_accounts(gcs: Gcs, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(gcs.credentials))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", gcs.credentials.read_text())
    with pytest.raises(StoreClosed, match=r"unset one of GOOGLE_SERVICE_ACCOUNT and GOOGLE_SERVICE_ACCOUNT_KEY"):
        gcs.open(url)


def test_it_asks_to_slow_down(gcs: Gcs, url: str, hasty: None) -> None:
    bucket = gcs.open(url)
    gcs.slow_down = 4
    bucket.put("a", b"1", create=True)
    assert (gcs.slow_down, bucket.get("a")) == (0, b"1")
    gcs.slow_down = 1_000_000
    assert "the store asks to slow down" in _refused(gcs, url, StoreAway)
    gcs.slow_down, gcs.failing = 0, 503
    assert "the store asks to slow down" in _refused(gcs, url, StoreAway)


def test_a_name_that_may_change_once_a_second(gcs: Gcs, url: str, example: Example) -> None:
    """The claim is made, told to be ours and taken away in less."""
    gcs.one_a_second = True
    store = ObjectStore(gcs.open(url))
    record, _ = store.publish("m", example(), None)
    assert (store.versions("m"), store.uncommitted("m")) == ([1], [])
    store.verify(record)


def test_an_emulator_that_ignores_conditions(gcs: Gcs, url: str, example: Example) -> None:
    gcs.deaf = True
    with pytest.raises(StoreError, match="ignores the conditions of writes"):
        ObjectStore(gcs.open(url)).publish("m", example(), None)


def test_a_user_who_has_to_sign_in_again() -> None:
    text = """Error performing token request: Error performing POST https://accounts.google.com/o/oauth2/token in 1ms
    - Server returned non-2xx status code: 400 Bad Request: {"error": "invalid_grant"}"""
    assert meaning_of(Exception(text), "gs://models").message == "the credentials have expired"


def test_credentials_that_are_handed_over(gcs: Gcs, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "handed"
    folder.mkdir()
    for name, content in to_hand_over(url, gcs.options, gcs.environment, str(folder)).items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    gcs.credentials.unlink()
    HandedBucket(url, gcs.options, folder / CREDENTIALS).put("a", b"1")
    assert gcs.asked > 0

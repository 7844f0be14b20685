"""What opens an object store, handed over in files: what they hold, and that a change of them is taken up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import s3
from tests.gcs import new_key, write_account
from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.store.answers import StoreClosed, StoreError
from tfsdeploy.store.handed import CREDENTIALS, HandedBucket, to_hand_over

FOLDER = "/run/secrets/tfsdeploy"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
NO_PROFILE = {"AWS_SHARED_CREDENTIALS_FILE": "/nobody", "AWS_CONFIG_FILE": "/nobody"}


@pytest.mark.parametrize(
    ("url", "options", "environment", "variables"),
    [
        ("s3://models", {}, KEYS | NO_PROFILE | {"PATH": "/bin", "GOOGLE_X": "y"}, KEYS),
        ("s3://models", {}, NO_PROFILE | {"AWS_REGION": "eu-central-1"}, None),
        ("s3://models", {"anonymous": True}, KEYS, None),
        ("s3://models", {}, KEYS | NO_PROFILE | {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token"}, KEYS),
        ("az://models", {}, {"AZURE_STORAGE_ACCOUNT_KEY": "key", **KEYS}, {"AZURE_STORAGE_ACCOUNT_KEY": "key"}),
        ("gs://models", {}, {"GOOGLE_SERVICE_ACCOUNT_KEY": "{}"}, {"GOOGLE_SERVICE_ACCOUNT_KEY": "{}"}),
    ],
)
def test_variables(
    url: str, options: Mapping[str, object], environment: Mapping[str, str], variables: Mapping[str, str] | None
) -> None:
    found = to_hand_over(url, options, environment, FOLDER)
    assert (json.loads(found[CREDENTIALS]) if CREDENTIALS in found else None) == variables


def test_a_profile_becomes_variables(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = k\naws_secret_access_key = s\n")
    (tmp_path / "config").write_text("[profile team]\nregion = eu-central-1\n")
    environment = {
        "AWS_PROFILE": "team",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    found = json.loads(to_hand_over("s3://models", {}, environment, FOLDER)[CREDENTIALS])
    assert found == {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-central-1"}


def test_files_that_variables_name_go_with_them(tmp_path: Path) -> None:
    file, authority = tmp_path / "account.json", tmp_path / "ca.pem"
    file.write_text('{"type": "service_account"}')
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    found = to_hand_over("gs://models", {"ca_file": str(authority)}, environment, FOLDER)
    assert json.loads(found[CREDENTIALS]) == {"GOOGLE_APPLICATION_CREDENTIALS": f"{FOLDER}/google.json"}
    assert (found["google.json"], found["ca.pem"]) == (file.read_bytes(), authority.read_bytes())
    file.unlink()
    with pytest.raises(TfsdeployError, match="GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read"):
        to_hand_over("gs://models", {}, environment, FOLDER)


def test_of_google_s_files_the_first_in_their_order_is_handed_over_alone(tmp_path: Path) -> None:
    account, user = tmp_path / "account.json", tmp_path / "user.json"
    account.write_text('{"type": "service_account"}')
    user.write_text('{"type": "authorized_user"}')
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(user), "GOOGLE_SERVICE_ACCOUNT": str(account)}
    found = to_hand_over("gs://models", {}, environment, FOLDER)
    assert found["google.json"] == account.read_bytes()
    assert json.loads(found[CREDENTIALS]) == {"GOOGLE_SERVICE_ACCOUNT": f"{FOLDER}/google.json"}
    # Nobody looks at the other one, so it may be gone.
    user.unlink()
    assert to_hand_over("gs://models", {}, environment, FOLDER) == found


def test_what_is_handed_over_anew_opens_the_next_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        # What it makes of this process's variables ends with the test.
        monkeypatch.setenv(name, "")
    with s3.s3_server(tmp_path) as server:
        url = server.make_bucket("models")
        file = tmp_path / CREDENTIALS
        file.write_text(json.dumps({"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": "wrong"}))
        bucket = HandedBucket(url, server.options, file)
        with pytest.raises(StoreError):
            bucket.put("x", b"1")
        file.write_text("{")
        with pytest.raises(StoreError):
            bucket.put("x", b"1")
        file.write_text(json.dumps(server.environment))
        bucket.put("x", b"1")
        assert bucket.get("x") == b"1"


@pytest.mark.parametrize("broken", ["[team", None])
def test_a_profile_is_read_again_until_it_opens_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str | None
) -> None:
    profile = tmp_path / "credentials"
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nobody")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    if broken:
        profile.write_text(broken)
    bucket = HandedBucket("s3://models", {"endpoint": "http://127.0.0.1:1"}, None)
    with pytest.raises(StoreClosed, match="AWS_PROFILE") as refused:
        bucket.get("x")
    assert (refused.value.where, bucket.trouble()) == (str(profile), str(refused.value))
    profile.write_text("[team]\naws_access_key_id = k\naws_secret_access_key = s\n")
    assert bucket.trouble() is None


def test_what_is_handed_over_broken_is_not_passed_over_for_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", "")
    file, account = tmp_path / CREDENTIALS, tmp_path / "google.json"
    file.write_text(json.dumps({"GOOGLE_SERVICE_ACCOUNT": str(account)}))
    write_account(account, new_key())
    bucket = HandedBucket("gs://models", {}, file)
    assert bucket.trouble() is None
    account.write_text("{")
    file.write_text(json.dumps({"GOOGLE_SERVICE_ACCOUNT": str(account)}, indent=1))
    for _ in range(2):
        assert f"{account}: Google's credentials are not what they should be" in str(bucket.trouble())


@pytest.mark.parametrize("url", ["s3://key:secret@models", "s3://", "http://models", "s3://models?x"])
def test_a_url_of_no_bucket_is_told_at_once(url: str) -> None:
    with pytest.raises(UsageError) as told:
        HandedBucket(url, {}, None)
    assert "secret" not in str(told.value)

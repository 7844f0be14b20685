"""The commands on a fleet file whose store is a bucket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import faketime
from tests.cli.conftest import Ran, Run
from tests.cli.saved_models import write_saved_model
from tests.ports import free_ports
from tests.s3 import KEY, READER_KEY, READER_SECRET, S3, SECRET
from tfsdeploy.cli.stores import can_ask
from tfsdeploy.targets.local.credentials import is_credential


@pytest.fixture
def store(s3: S3, s3_bucket: str, tmp_path: Path) -> str:
    for number, name in enumerate(("one", "two"), 1):
        write_saved_model(tmp_path / name, number)
    _fleet(tmp_path, s3_bucket, s3.endpoint)
    return s3_bucket


def _fleet(folder: Path, store: str, endpoint: str, more: str = "") -> None:
    text = f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: {store}\nmodels: {{ranker: {{}}}}\n"
    (folder / "fleet.yaml").write_text(f"{text}storeOptions: {{endpoint: {endpoint!r}, region: us-east-1{more}}}\n")


def test_push_versions_inspect_adopt(store: str, run: Run) -> None:
    first = run("push", "ranker", "one", "-o", "json").document("push")
    assert (first["version"], first["store"]) == (1, store)
    assert "already" in run("push", "ranker", "one", "--version", "1").out
    taken = run("push", "ranker", "two", "--version", "1", "-o", "json")
    assert (taken.code, taken.document("push")["error"]["code"]) == (5, 5)
    assert run("push", "ranker", "two", "--version", "auto").code == 0
    listed = run("versions", "ranker", "-o", "json").document("versions")["versions"]
    assert [row["version"] for row in listed] == [1, 2]
    shown = run("inspect", "ranker", "2", "-o", "json").document("inspect")
    assert shown["path"] == f"{store}/ranker/2"
    assert run("adopt", "ranker", "2").code == 0
    assert run("adopt", "ranker", "3").code == 2


def test_what_was_half_sent_by_another_tool_is_named(store: str, s3: S3, run: Run) -> None:
    run("push", "ranker", "one")
    s3.open(store).put("ranker/2/saved_model.pb", b"half")
    assert "tfsdeploy adopt ranker 2" in run("versions", "ranker").err
    assert "damaged or incomplete" in run("adopt", "ranker", "2").err


def test_verify_reports_rot(store: str, s3: S3, run: Run) -> None:
    for name in ("one", "two"):
        run("push", "ranker", name)
    assert run("verify").code == 0
    bucket = s3.open(store)
    content = bucket.get("ranker/2/saved_model.pb") or b""
    bucket.put("ranker/2/saved_model.pb", content[:-1] + b"?")
    assert "2 versions" in run("verify", "ranker").out
    (damaged,) = run("verify", "-o", "json").document("verify")["damaged"]
    assert (damaged["version"], "other bytes" in damaged["error"]) == (2, True)
    bucket.put("ranker/2/saved_model.pb", content + b"?")
    assert "the commit record says" in run("verify", "ranker", "2").err
    bucket.delete(["ranker/2/saved_model.pb"])
    told = run("verify", "ranker", "2").err
    assert "is missing" in told
    # The way out that it names works.
    assert f"remove {store}/ranker/2 with the store's own tools" in told
    bucket.delete([entry.key for entry in bucket.list("ranker/2")])
    assert run("push", "ranker", "two", "--version", "2").code == 0
    assert run("verify").code == 0


def test_doctor_asks_the_store(store: str, s3: S3, run: Run, tmp_path: Path) -> None:
    assert f"{store}: 0 models" in run("doctor").out
    _fleet(tmp_path, "s3://nowhere", s3.endpoint)
    assert "create it, or correct store, region or endpoint" in run("doctor").out


COMMANDS = (
    ("push", "ranker", "one"),
    ("push", "ranker", "one", "--version", "7", "-o", "json"),
    ("versions", "ranker"),
    ("inspect", "ranker", "1"),
    ("adopt", "ranker", "1"),
)


def _denied(folder: Path, store: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET)
    return "denies this"


def _wrong_secret(folder: Path, store: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{SECRET}-not")
    return "does not belong to the access key"


def _no_bucket(folder: Path, store: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    _fleet(folder, "s3://nowhere/prod", s3.endpoint)
    return "no such bucket"


def _unreachable(folder: Path, store: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    _fleet(folder, store, f"http://127.0.0.1:{free_ports(1)[0]}")
    return "nothing listens at the endpoint"


def _no_ca(folder: Path, store: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    _fleet(folder, store, s3.endpoint, ", caFile: /no/such/ca.pem")
    return "the CA file cannot be read"


@pytest.mark.parametrize("trouble", [_wrong_secret, _no_bucket, _unreachable, _no_ca])
def test_every_command_says_what_is_wrong_in_one_line(
    trouble: object, store: str, s3: S3, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(trouble)
    words = trouble(tmp_path, store, s3, monkeypatch)
    for command in COMMANDS if trouble is not _unreachable else COMMANDS[:2]:
        done = run(*command)
        assert done.code == 1, done
        assert words in done.out + done.err, done
        _clean(done)


def test_who_may_only_read_reads(store: str, s3: S3, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("push", "ranker", "one")
    words = _denied(tmp_path, store, s3, monkeypatch)
    assert run("inspect", "ranker", "1").code == 0
    denied = run("push", "ranker", "two")
    assert (denied.code, words in denied.err) == (1, True)
    _clean(denied)


def _clean(done: Ran) -> None:
    for secret in (KEY, SECRET, READER_KEY, READER_SECRET):
        assert secret not in done.out + done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 3, done.err


@pytest.fixture(autouse=True)
def no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))


def test_a_profile_holds_the_credentials(store: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "aws-credentials").write_text(
        f"[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n"
        f"[models]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    assert "does not know the access key" in run("push", "ranker", "one").err
    monkeypatch.setenv("AWS_PROFILE", "models")
    assert run("push", "ranker", "one").code == 0
    monkeypatch.setenv("AWS_PROFILE", "others")
    assert "no AWS profile 'others'" in run("push", "ranker", "one").err
    (tmp_path / "aws-credentials").write_text(f"no section\nsecret = {SECRET}\n")
    broken = run("push", "ranker", "one")
    assert "the AWS profile cannot be read" in broken.err
    _clean(broken)


def test_what_the_user_is_signed_in_with_counts_as_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` and `promote` leave word for `gc` where the store can be reached from here."""
    for name in [name for name in os.environ if is_credential(name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not can_ask("s3://models/prod")
    assert not can_ask("gs://models/prod")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(f"[default]\naws_access_key_id = {KEY}\n")
    gcloud = tmp_path / ".config" / "gcloud"
    gcloud.mkdir(parents=True)
    (gcloud / "application_default_credentials.json").write_text("{}")
    assert can_ask("s3://models/prod")
    assert can_ask("gs://models/prod")
    assert not can_ask("az://models/prod")
    (tmp_path / ".aws" / "credentials").write_text("no section\n")
    assert not can_ask("s3://models/prod")


def test_a_signature_in_a_url_is_not_shown(store: str, run: Run) -> None:
    told = run("mirror", "az://models/prod?sig=hidden", "ranker")
    assert "no ? and no #" in told.err
    assert "hidden" not in told.out + told.err


@faketime.needed
@pytest.mark.parametrize("wrong", ["-1h", "+1h"])
def test_a_clock_that_is_wrong_is_named(store: str, s3: S3, run: Run, tmp_path: Path, wrong: str) -> None:
    """By every command, and by questions whose answers have no words, too."""
    run("push", "ranker", "one")
    environment = faketime.off_by(wrong)

    def said(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1, done
        return done.stderr

    for words in (("push", "ranker", "two"), ("versions", "ranker")):
        assert "the store refuses this machine's clock" in said("-m", "tfsdeploy", *words)
    code = "import sys; from tfsdeploy.store.bucket import open_bucket; "
    code += "open_bucket(sys.argv[1], dict(endpoint=sys.argv[2])).stat('ranker/1/tfsdeploy.json')"
    assert "the store refuses this machine's clock" in said("-c", code, store, s3.endpoint)

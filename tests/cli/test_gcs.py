"""The commands on a fleet file whose store is in GCS, on a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Run
from tests.cli.saved_models import write_saved_model
from tests.gcs import READER_TOKEN, Gcs
from tfsdeploy.store.bucket import PART


@pytest.fixture
def store(gcs: Gcs, tmp_path: Path) -> str:
    for number, name in enumerate(("one", "two"), 1):
        write_saved_model(tmp_path / name, number)
    (tmp_path / "two" / "assets").mkdir(exist_ok=True)
    (tmp_path / "two" / "assets" / "words").write_bytes(os.urandom(2 * PART + 1))
    url = f"{gcs.make_bucket('models')}/prod"
    _fleet(tmp_path, url, gcs)
    return url


def _fleet(folder: Path, store: str, gcs: Gcs) -> None:
    text = f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: {store}\nmodels: {{ranker: {{}}}}\n"
    (folder / "fleet.yaml").write_text(f"{text}storeOptions: {{endpoint: {gcs.options['endpoint']!r}}}\n")


def _failed(gcs: Gcs, done: Ran, words: str) -> None:
    assert (done.code, words in done.err) == (1, True), done
    assert not [secret for secret in gcs.secrets if secret in done.out + done.err]
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 3, done.err


def test_push_versions_verify_gc(store: str, gcs: Gcs, run: Run) -> None:
    for number, name in enumerate(("one", "two"), 1):
        first = run("push", "ranker", name, "-o", "json").document("push")
        assert (first["version"], first["store"]) == (number, store)
        assert "already" in run("push", "ranker", name, "--version", str(number)).out
    assert run("push", "ranker", "two", "--version", "1").code == 5
    listed = run("versions", "ranker", "-o", "json").document("versions")["versions"]
    assert [row["version"] for row in listed] == [1, 2]
    assert run("inspect", "ranker", "2", "-o", "json").document("inspect")["path"] == f"{store}/ranker/2"
    assert "2 versions" in run("verify").out
    assert run("doctor").out.count(f"{store}: 1 model") == 1
    before = [entry.key for entry in gcs.open(store).list()]
    told = run("gc")
    assert [entry.key for entry in gcs.open(store).list()] == before, told
    gcs.open(store).put("ranker/2/assets/words", b"rot")
    assert "the commit record says" in run("verify", "ranker", "2").err


def test_what_is_wrong_in_one_line(
    store: str, gcs: Gcs, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("push", "ranker", "one")
    with monkeypatch.context() as other:
        other.setenv("GOOGLE_BEARER_TOKEN", READER_TOKEN)
        assert run("inspect", "ranker", "1").code == 0
        _failed(gcs, run("push", "ranker", "two"), "denies this")
    with monkeypatch.context() as other:
        other.setenv("GOOGLE_BEARER_TOKEN", "ya29.expired")
        for command in (("push", "ranker", "two"), ("versions", "ranker"), ("verify",)):
            _failed(gcs, run(*command), "does not accept the credentials")
    _fleet(tmp_path, "gs://nowhere/prod", gcs)
    for command in (("push", "ranker", "one"), ("versions", "ranker"), ("verify",), ("gc",)):
        _failed(gcs, run(*command), "no such bucket")
    gcs.credentials.write_text("{")
    _failed(gcs, run("versions", "ranker"), "Google's credentials are not what they should be")

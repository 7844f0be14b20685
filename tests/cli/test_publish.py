"""Signatures, checks and copies inside the store, by the commands, on a fleet file whose store is a bucket."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.saved_models import write_saved_model
from tests.keys import write_key
from tests.s3 import S3
from tfsdeploy.deploy import trial
from tfsdeploy.store import gc
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.example import write_example
from tfsdeploy.store.notes import BucketNotes
from tfsdeploy.store.record import Check
from tfsdeploy.store.refs import remember


@pytest.fixture
def fleet(s3: S3, s3_bucket: str, tmp_path: Path) -> dict[str, object]:
    """The options of the fleet file's store, to be changed with `write_fleet`."""
    for number, name in enumerate(("one", "two"), 1):
        write_saved_model(tmp_path / name, number)
    for name in ("release", "other"):
        write_key(tmp_path, name)
    return {"store": s3_bucket, "endpoint": s3.endpoint, "region": "us-east-1"}


def write_fleet(folder: Path, fleet: dict[str, object], **more: object) -> None:
    options = {name: value for name, value in (fleet | more).items() if name != "store"}
    head = {"apiVersion": "tfsdeploy/v1", "kind": "Fleet", "name": "shop", "models": {"ranker": {}}}
    (folder / "fleet.yaml").write_text(yaml.safe_dump({**head, "store": fleet["store"], "storeOptions": options}))


def test_only_what_is_signed_counts(fleet: dict[str, object], s3: S3, run: Run, tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet)
    run("push", "ranker", "one")
    write_fleet(tmp_path, fleet, requireSignature=["release.pub.pem"])
    assert "no key is named" in run("push", "ranker", "two").err
    assert "does not trust this key" in run("push", "ranker", "two", "--sign", "other.pem").err
    pushed = run("push", "ranker", "two", "--sign", "release.pem", "-o", "json").document("push")
    assert (pushed["version"], len(pushed["signed"])) == (2, 1)
    # The one that is not signed hides nothing, and is not believed.
    listed = run("versions", "ranker", "-o", "json")
    rows = listed.document("versions")["versions"]
    assert [(row["version"], row["signed"]) for row in rows] == [(1, None), (2, pushed["signed"])]
    assert "not signed" in listed.err
    verified = run("verify", "-o", "json")
    (damaged,) = verified.document("verify")["damaged"]
    assert (verified.code, damaged["version"]) == (1, 1)
    assert run("inspect", "ranker", "1").code == 1
    assert run("mirror", (tmp_path / "copy").as_uri(), "ranker", "1").code == 1
    assert run("mirror", (tmp_path / "copy").as_uri(), "ranker", "2").code == 0
    copied = json.loads((tmp_path / "copy" / "ranker" / "2" / "tfsdeploy.json").read_text())
    assert [one["key"] for one in copied["signed"]] == pushed["signed"]
    # Its bytes are compared, and then it can be signed.
    assert "not signed" in run("adopt", "ranker", "1").err
    signed = run("adopt", "ranker", "1", "--sign", "release.pem", "-o", "json")
    assert signed.document("adopt")["signed"] == pushed["signed"]
    assert run("verify").code == 0
    # A push of the same bytes signs what is there, too.
    assert run("push", "ranker", "two", "--version", "2", "--sign", "release.pem").code == 0


def test_a_record_that_was_tampered_with(fleet: dict[str, object], s3: S3, run: Run, tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet, requireSignature=["release.pub.pem"])
    run("push", "ranker", "one", "--sign", "release.pem")
    bucket = s3.open(str(fleet["store"]))
    record = json.loads(bucket.get("ranker/1/tfsdeploy.json") or b"")
    bucket.put("ranker/1/tfsdeploy.json", json.dumps(record | {"by": "mallory@elsewhere"}).encode())
    shown = run("verify")
    assert (shown.code, "it was changed since" in shown.err) == (1, True)
    # Whoever signs it again vouches for the bytes, not for the words that were changed.
    write_fleet(tmp_path, fleet, requireSignature=["other.pub.pem"])
    assert "a key that is not trusted here" in run("verify").err


def test_gc_lets_go_of_what_is_not_signed(
    fleet: dict[str, object], s3: S3, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "YOUNG", timedelta(0))
    write_fleet(tmp_path, fleet)
    for name in ("one", "two"):
        run("push", "ranker", name)
    bucket = s3.open(str(fleet["store"]))
    remember(BucketNotes(bucket), "other", "life", {}, {}, datetime.now(UTC))
    write_fleet(tmp_path, fleet, requireSignature=["release.pub.pem"])
    rows = run("gc", "--keep", "1", "-o", "json").document("gc")
    assert [row["version"] for row in rows["versions"]] == [1], rows


def test_what_a_check_finds_is_recorded(fleet: dict[str, object], run: Run, tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet)
    write_example(tmp_path / "half")
    (tmp_path / "half" / "golden.json").write_text('{"request": {"instances": [1.0]}, "expected": [9.0]}')
    refused = run("push", "ranker", "half", "--check", "-o", "json")
    assert refused.code == 1
    assert "predictions[0] is 2.5, expected 9.0" in refused.document("push")["error"]["message"]
    assert run("versions", "ranker").code == 2  # there is no such model: nothing was published
    (tmp_path / "half" / "golden.json").write_text('{"request": {"instances": [1.0]}, "expected": [2.5]}')
    check = run("push", "ranker", "half", "--check", "-o", "json").document("push")["check"]
    assert (check["golden"], check["warmUp"]) == (1, 0)
    (row,) = run("versions", "ranker", "-o", "json").document("versions")["versions"]
    assert (row["check"], row["signatures"]) == (check, ["serving_default"])
    assert f"{check['loadSeconds']:.2f} s" in run("versions", "ranker").out


def test_golden_requests_that_nobody_understands(fleet: dict[str, object], run: Run, tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet)
    (tmp_path / "one" / "golden.json").write_text('{"request": {}}')
    shown = run("push", "ranker", "one")
    assert (shown.code, "`expected` is missing" in shown.err) == (2, True)


def test_push_from_inside_the_store(fleet: dict[str, object], s3: S3, run: Run, tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet)
    root = s3.open(str(fleet["store"]).removesuffix("/prod"))
    root.put("training/run-7/saved_model.pb", (tmp_path / "one" / "saved_model.pb").read_bytes())
    pushed = run("push", "ranker", "--from", root.where("training/run-7"), "-o", "json").document("push")
    assert pushed["version"] == 1
    assert run("verify", "ranker", "1").code == 0
    assert "already" in run("push", "ranker", "one", "--version", "1").out
    assert run("push", "ranker").code == run("push", "ranker", "one", "--from", root.where("training")).code == 2
    assert "there is nothing" in run("push", "ranker", "--from", root.where("nowhere")).err


@pytest.mark.parametrize("there", ["a folder", "inside", "another bucket"])
def test_what_is_published_is_what_was_checked(
    there: str, fleet: dict[str, object], s3: S3, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fleet(tmp_path, fleet)
    root = s3.open(str(fleet["store"]).removesuffix("/prod"))
    if there == "another bucket":
        root = s3.open(s3.make_bucket(f"trained-{str(fleet['store']).split('/')[2]}"))
    one, two = ((tmp_path / name / "saved_model.pb").read_bytes() for name in ("one", "two"))
    root.put("training/run-7/saved_model.pb", one)
    words = ("one",) if there == "a folder" else ("--from", root.where("training/run-7"))

    def trained_on(folder: Path, report: object, *, prefer_tflite: bool) -> Check:
        # As a training job that writes while TensorFlow tries what it wrote before.
        assert (folder / "saved_model.pb").read_bytes() == one
        (tmp_path / "one" / "saved_model.pb").write_bytes(two)
        root.put("training/run-7/saved_model.pb", two)
        return Check("2.20.0", 1.0, 9, 9, 0, 0)

    monkeypatch.setattr(trial, "try_out", trained_on)
    shown = run("push", "ranker", *words, "--check")
    if there == "another bucket":
        # The copy that was tried is the one that is published.
        assert shown.code == 0
        record = s3.open(str(fleet["store"])).get("ranker/1/tfsdeploy.json") or b""
        assert hashlib.sha256(one).hexdigest() in record.decode()
        return
    assert (shown.code, "it is not what was checked" in shown.err) == (1, True), shown.err
    assert run("versions", "ranker").out.splitlines()[1:] == []


def test_a_store_without_conditional_writes(
    fleet: dict[str, object], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No S3 server here ignores conditions: they are taken off right before the client library.
    put = Bucket.put

    def without(self: Bucket, key: str, data: bytes, **conditions: Any) -> str | None:
        return put(self, key, data) if self._conditional else put(self, key, data, **conditions)

    monkeypatch.setattr(Bucket, "put", without)
    write_fleet(tmp_path, fleet)
    refused = run("push", "ranker", "one")
    assert (refused.code, "storeOptions.conditionalWrites: false" in refused.err) == (1, True)
    write_fleet(tmp_path, fleet, conditionalWrites=False)
    # The first attempt has left its claim; it ended on this machine.
    assert run("push", "ranker", "one", "--version", "2").code == 0
    assert run("push", "ranker", "two", "--version", "2").code == 5
    assert run("push", "ranker", "two").code == 0
    assert run("verify").code == 0

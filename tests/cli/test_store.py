"""push, versions, adopt, inspect, init, validate and doctor on a store without a fleet."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import faketime
from tests.cli.conftest import Run
from tests.cli.saved_models import write_saved_model
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store import gc
from tfsdeploy.store.notes import FileNotes
from tfsdeploy.store.refs import remember
from tfsdeploy.store.store import FileStore

FLEET = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: file://./models\nmodels: {ranker: {}}\n"


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    write_saved_model(tmp_path / "one", 1)
    write_saved_model(tmp_path / "two", 2)


def test_push_takes_the_next_number(run: Run) -> None:
    first = run("push", "ranker", "one", "-o", "json").document("push")
    second = run("push", "ranker", "two", "-o", "json").document("push")
    assert (first["version"], second["version"]) == (1, 2)
    assert first["digest"] != second["digest"]


def test_a_number_stands_for_one_content(run: Run) -> None:
    run("push", "ranker", "one", "--version", "7")
    assert run("push", "ranker", "one", "--version", "7").code == 0
    taken = run("push", "ranker", "two", "--version", "7", "-o", "json")
    document = taken.document("push")
    assert (taken.code, document["error"]["code"], document["model"]) == (5, 5, "ranker")


@pytest.mark.parametrize("what", [".", "fleet.yaml", "gone"])
def test_what_is_no_saved_model(what: str, run: Run) -> None:
    shown = run("push", "ranker", what)
    assert shown.code == 2
    assert "not a SavedModel" in shown.err


def test_versions_and_adopt(run: Run, tmp_path: Path) -> None:
    run("push", "ranker", "one", "--version", "1")
    shutil.copytree(tmp_path / "two", tmp_path / "models" / "ranker" / "2")
    listed = run("versions", "ranker")
    assert "tfsdeploy adopt ranker 2" in listed.err
    adopted = run("adopt", "ranker", "2", "-o", "json").document("adopt")
    assert adopted["version"] == 2
    rows = run("versions", "ranker", "-o", "json").document("versions")["versions"]
    assert [(row["version"], row["replicas"], row["traffic"]) for row in rows] == [(1, 0, 0), (2, 0, 0)]


def test_inspect(run: Run) -> None:
    of_folder = run("inspect", "one", "-o", "json").document("inspect")
    run("push", "ranker", "one", "--version", "3")
    of_version = run("inspect", "ranker", "3", "-o", "json").document("inspect")
    assert of_folder["signatures"] == of_version["signatures"]
    assert of_folder["signatures"]["serving_default"]["inputs"] == {
        "x": {"dtype": "float", "shape": [-1], "name": "x:0"}
    }
    assert of_folder["others"] == []
    shown = run("inspect", "one").out
    assert "tags: serve" in shown
    assert "in   x: float [?]" in shown


def test_validate(run: Run, tmp_path: Path) -> None:
    assert run("validate", "-o", "json").document("validate")["fleet"] == "shop"
    (tmp_path / "bad.yaml").write_text(FLEET.replace("kind: Fleet", "kind: Flet\nnope: 1"))
    shown = run("validate", "-f", "bad.yaml")
    assert shown.code == 2
    assert shown.err.count("bad.yaml:") == 2
    document = run("validate", "-f", "bad.yaml", "-o", "json").document("validate")
    assert document["error"]["where"].startswith("bad.yaml:2:")
    assert [(problem["line"], problem["path"]) for problem in document["problems"]] == [(2, "kind"), (3, "nope")]


def test_validate_looks_for_the_files_that_are_named(run: Run, tmp_path: Path) -> None:
    """Seen from the fleet file; other commands, such as a rollback, do without them."""
    (tmp_path / "fleets").mkdir()
    file = tmp_path / "fleets" / "shop.yaml"
    file.write_text(FLEET.replace("{ranker: {}}", "\n  ranker: {}\n  other:\n    example: requests/other.json"))
    shown = run("validate", "-f", "fleets/shop.yaml", "-o", "json")
    (problem,) = shown.document("validate")["problems"]
    line = file.read_text().splitlines().index("    example: requests/other.json") + 1
    assert (shown.code, problem["line"], problem["column"]) == (2, line, 14)
    assert problem["path"] == "models.other.example"
    assert f"there is no file {tmp_path}/fleets/requests/other.json" in problem["message"]
    assert f"fleets/shop.yaml:{line}:14: " in run("validate", "-f", "fleets/shop.yaml").err
    assert run("diff", "-f", "fleets/shop.yaml").code == 3
    (tmp_path / "fleets" / "requests").mkdir()
    (tmp_path / "fleets" / "requests" / "other.json").write_text("{}")
    assert run("validate", "-f", "fleets/shop.yaml").code == 0


def test_schema(run: Run) -> None:
    assert json.loads(run("schema").out) == json.loads(run("schema", "-o", "json").out)
    assert len(run("schema", "-o", "json").out.splitlines()) == 1


def test_render(run: Run, tmp_path: Path) -> None:
    artefacts = run("render", "-o", "json").document("render")["artefacts"]
    assert {row["path"] for row in artefacts} >= {"replica/agent.sh", "replica/server.sh", "gateway/envoy.sh"}
    assert run("render", "--out", "out").code == 0
    for row in artefacts:
        assert (tmp_path / "out" / row["path"]).read_text() == row["text"]
    assert run("render").out == run("render").out


def test_doctor(run: Run, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    document = run("doctor", "-o", "json").document("doctor")
    checks = {finding["check"]: finding for finding in document["findings"]}
    assert {"python", "TensorFlow", "Envoy", "memory", "state folder", "clock", "store"} <= checks.keys()
    assert all((finding["mend"] is None) == finding["ok"] for finding in document["findings"])
    shutil.rmtree(tmp_path / "models")
    broken = run("doctor", "-o", "json")
    assert broken.code == 1
    assert not {f["check"]: f["ok"] for f in broken.document("doctor")["findings"]}["store"]


def test_down_of_nothing(run: Run) -> None:
    assert run("down", "-o", "json").document("down") == {"fleet": "shop", "target": "local", "removed": False}


def test_init_starts_a_fleet_that_is_valid_and_has_a_model(run: Run, tmp_path: Path) -> None:
    document = run("init", "cinema", "--replicas", "3", "--free-ports", "-o", "json").document("init")
    assert (document["fleet"], document["model"]) == ("cinema", "half_plus_two")
    fleet = load_fleet(tmp_path / "cinema" / "fleet.yaml")
    assert (fleet.serving.replicas, fleet.gateway.rest, fleet.gateway.grpc) == (3, 0, 0)
    assert "half_plus_two" in run("versions", "half_plus_two", "-f", "cinema/fleet.yaml", "-o", "json").out
    shown = run("inspect", "half_plus_two", "1", "-f", "cinema/fleet.yaml", "-o", "json").document("inspect")
    assert list(shown["signatures"]) == ["serving_default"]
    again = run("init", "cinema")
    assert (again.code, "nothing was changed" in again.err) == (2, True)


@pytest.mark.parametrize("name", ["", "Shop", "../shop", "a b", "-", "x" * 41])
def test_init_of_what_is_no_fleet_name(name: str, run: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run("init", "--", name).code == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_verify_reports_rot(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("push", "ranker", name)
    run("push", "other", "one")
    sound = run("verify", "-o", "json")
    assert (sound.code, sound.document("verify")["checked"]) == (0, 3)
    rotten = tmp_path / "models" / "ranker" / "2" / "saved_model.pb"
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"?")
    found = run("verify", "ranker", "-o", "json")
    (damaged,) = found.document("verify")["damaged"]
    assert (found.code, damaged["model"], damaged["version"]) == (1, "ranker", 2)
    assert "saved_model.pb" in damaged["error"]
    # The way out that it names works.
    assert f"remove {(tmp_path / 'models').as_uri()}/ranker/2" in found.err
    assert "`tfsdeploy push ranker DIR --version 2`" in found.err
    shutil.rmtree(tmp_path / "models" / "ranker" / "2")
    assert run("push", "ranker", "two", "--version", "2").code == 0
    mended = run("verify", "ranker", "-o", "json")
    assert (mended.code, mended.document("verify")["damaged"], "To mend" in mended.err) == (0, [], False)
    assert run("verify", "ranker", "1").code == 0
    assert run("verify", "ranker", "9").code == 2
    assert run("verify", "nobody").code == 2


def test_gc_tells_marks_and_sweeps(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2", "3", "4"):
        assert run("push", "ranker", "one", "--version", version).code == 0
        record = tmp_path / "models" / "ranker" / version / RECORD_FILE
        record.write_text(json.dumps({**json.loads(record.read_bytes()), "committed": "2020-01-01T00:00:00+00:00"}))
    refused = run("gc")
    assert (refused.code, "no fleet has left word" in refused.err) == (2, True)
    remember(FileNotes(tmp_path / "models"), "other", "uid", {"ranker": {1}}, {}, datetime.now(UTC))
    assert "0 versions not needed" in run("gc", "--keep", "2").out  # they came to this store just now
    monkeypatch.setattr(gc, "YOUNG", timedelta(0))
    told = run("gc", "--keep", "2")
    assert "would mark   ranker 2" in told.out
    assert "nothing was changed" in told.out
    document = run("gc", "--keep", "2", "--yes", "-o", "json").document("gc")
    assert [(row["version"], row["done"]) for row in document["versions"]] == [(2, "mark")]
    assert (document["fleets"], document["done"]) == (["other"], True)
    assert "sweep  ranker 2" in run("gc", "--keep", "2", "--yes").out
    versions = run("versions", "ranker", "-o", "json").document("versions")["versions"]
    assert [row["version"] for row in versions] == [1, 3, 4]
    assert run("gc", "nobody").code == 2


@faketime.needed
def test_gc_removes_nothing_young_by_a_clock_that_is_ahead(run: Run, tmp_path: Path) -> None:
    """A mount's server dates what comes there by its own clock, and takes in whoever has another one."""
    for version in ("1", "2", "3"):
        assert run("push", "ranker", "one", "--version", version).code == 0
    remember(FileNotes(tmp_path / "models"), "other", "uid", {}, {}, datetime.now(UTC))
    for words in ((), ("--yes",), ("--yes",)):
        done = subprocess.run(
            [sys.executable, "-m", "tfsdeploy", "gc", "--keep", "1", *words],
            cwd=tmp_path, env=faketime.off_by("+8d"), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, "0 versions not needed" in done.stdout) == (0, True), done
    assert FileStore(tmp_path / "models").versions("ranker") == [1, 2, 3]
    assert sorted(path.name for path in (tmp_path / "models" / ".tfsdeploy").iterdir()) == [".lock", "refs"]


def test_mirror_copies_what_is_not_there(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("push", "ranker", name)
    run("push", "other", "one")
    url = (tmp_path / "elsewhere").as_uri()
    document = run("mirror", url, "ranker", "2", "-o", "json").document("mirror")
    assert [(row["model"], row["version"], row["already"]) for row in document["versions"]] == [("ranker", 2, False)]
    assert "2 versions copied" in run("mirror", url).out
    for path in ("ranker/1", "ranker/2", "other/1"):
        records = [(tmp_path / store / path / RECORD_FILE).read_bytes() for store in ("models", "elsewhere")]
        assert records[0] == records[1]
    assert run("mirror", url, "nobody").code == 2
    assert run("mirror", "ftp://x", "ranker").code == 2


def test_mirror_goes_on_after_a_damaged_version(run: Run, tmp_path: Path) -> None:
    for version in ("1", "2", "3", "4", "5"):
        assert run("push", "ranker", "one", "--version", version).code == 0
    models, url = tmp_path / "models" / "ranker", (tmp_path / "elsewhere").as_uri()
    rotten = models / "1" / "saved_model.pb"
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"?")
    (models / "2" / "saved_model.pb").unlink()
    (models / "3" / RECORD_FILE).write_text("{")
    write_saved_model(tmp_path / "three", 3)
    (tmp_path / "there.yaml").write_text(FLEET.replace("./models", "./elsewhere"))
    assert run("push", "ranker", "three", "--version", "4", "-f", "there.yaml").code == 0
    shown = run("mirror", url, "-o", "json")
    document = shown.document("mirror")
    assert (shown.code, [row["version"] for row in document["versions"]]) == (1, [5])
    words = {row["version"]: row["error"] for row in document["failed"]}
    assert words.keys() == {1, 2, 3, 4}
    assert "saved_model.pb has other bytes than its commit record" in words[1]
    assert "saved_model.pb is missing" in words[2]
    assert "not a commit record" in words[3]
    assert "published other bytes" in words[4]
    assert "ranker 1 is not copied" in shown.err
    again = run("mirror", url)
    assert (again.code, "0 versions copied" in again.out, "4 could not be" in again.out) == (1, True, True)
    # One that is named is an error like any other.
    assert run("mirror", url, "ranker", "1").code == 1
    assert run("mirror", url, "ranker", "4").code == 5


def test_what_is_pinned_is_looked_at_before_anybody_folds_it(run: Run, tmp_path: Path) -> None:
    write_saved_model(tmp_path / "renamed", 3, output="z")
    for name, version in (("one", "1"), ("renamed", "2")):
        assert run("push", "ranker", name, "--version", version).code == 0
    pinned = FLEET.replace(
        "{ranker: {}}", "{ranker: {version: 1, canary: {version: 2, weight: 10}}, other: {version: 7}}"
    )
    (tmp_path / "fleet.yaml").write_text(pinned)
    assert run("validate").code == 0
    shown = run("validate", "--store", "-o", "json")
    problems = {problem["path"]: problem["message"] for problem in shown.document("validate")["problems"]}
    assert shown.code == 2
    assert problems.keys() == {"models.ranker.canary.version", "models.other.version"}
    words = "would break clients of version 1: serving_default output y is gone"
    assert words in problems["models.ranker.canary.version"]
    assert "no committed version 7" in problems["models.other.version"]
    (tmp_path / "fleet.yaml").write_text(pinned.replace(", other: {version: 7}", ""))
    told = run("diff")
    assert (told.code, words in told.err) == (3, True)
    (tmp_path / "fleet.yaml").write_text(FLEET.replace("{ranker: {}}", "{ranker: {version: 2}}"))
    assert run("validate", "--store").code == 0
    shutil.rmtree(tmp_path / "models")
    assert run("validate", "--store").code == 2

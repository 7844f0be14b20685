"""Promote, rollback, status, history, versions and predict as commands, on a small fleet that keeps real state."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.saved_models import write_saved_model
from tests.deploy.small_fleet import SmallFleet, small_fleet
from tests.s3 import REGION, S3
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.processes import boot_id, identity
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Rollout
from tfsdeploy.release.transitions import begin
from tfsdeploy.store.notes import BucketNotes, FileNotes
from tfsdeploy.store.refs import held
from tfsdeploy.store.store import FileStore
from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.local.state import FleetFolder
from tfsdeploy.targets.local.target import LocalTarget
from tfsdeploy.targets.local.units import Observed, UnitSpec, observed_to_text

FLEET = """\
apiVersion: tfsdeploy/v1
kind: Fleet
name: shop
store: file://./models
serving: {replicas: 3, minAvailable: 2}
models:
  ranker: {}
"""


@pytest.fixture
def fleet(tmp_path: Path, run: Run) -> Iterator[SmallFleet]:
    """A fleet that the command line finds in its state home; versions 1 to 3 are in the store."""
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "other.yaml").write_text(FLEET)
    _push(run, tmp_path, 1, 2, 3)
    with _at_home(tmp_path, (tmp_path / "models").as_uri(), {}) as running:
        yield running


def _push(run: Run, folder: Path, *versions: int) -> None:
    for version in versions:
        write_saved_model(folder / "export" / str(version), version)
        assert run("push", "ranker", f"export/{version}", "--version", str(version)).code == 0


@contextmanager
def _at_home(folder: Path, store: str, options: dict[str, object]) -> Iterator[SmallFleet]:
    home = FleetFolder(folder / "home", "shop")
    home.make()
    home.write_settings(Settings("shop", "local", str(folder / "fleet.yaml"), store, options, 3, 2, 1))
    here = identity(os.getpid())
    assert here is not None
    (home.supervisor / "observed.json").write_text(observed_to_text(Observed(boot_id(), here)))
    with small_fleet(home.path) as running:
        for ordinal, replica in enumerate(running.replicas(), 1):
            home.write_unit(UnitSpec(replica.name, "replica", ordinal, "", shape=(), ports={}, processes=()))
            home.write_endpoint("replica", replica.name, {"status": replica.status})
        for ordinal, gateway in enumerate(running.gateways(), 1):
            home.write_unit(UnitSpec(gateway.name, "gateway", ordinal, "", shape=(), ports={}, processes=()))
            addresses = {"status": gateway.status, "rest": gateway.rest, "grpc": gateway.grpc}
            home.write_endpoint("gateway", gateway.name, addresses)
        yield running


def test_push_gives_no_number_anew_that_the_history_knows(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    assert run("promote", "ranker", "3").code == 0
    assert run("rollback", "ranker").code == 0
    for version in (2, 3):
        shutil.rmtree(tmp_path / "models" / "ranker" / str(version))
    assert run("push", "ranker", "export/2", "-o", "json").document("push")["version"] == 4
    assert run("push", "ranker", "export/3", "--fleet", "shop", "-o", "json").document("push")["version"] == 5


def test_promote_and_rollback(fleet: SmallFleet, run: Run) -> None:
    done = run("promote", "ranker", "2", "-o", "json")
    document = done.document("promote")
    assert (done.code, document["model"], document["from"], document["to"]) == (0, "ranker", 1, 2)
    assert document["seconds"]["total"] >= document["seconds"]["load"] > 0
    assert document["probe"] is None
    again = run("promote", "ranker", "2")
    assert (again.code, "already" in again.out) == (0, True)
    back = run("rollback", "ranker", "--fleet", "shop", "-o", "json").document("rollback")
    assert (back["from"], back["to"], back["generation"]) == (2, 1, document["generation"] + 1)
    second = run("rollback", "ranker", "-o", "json")
    error = second.document("rollback")["error"]
    assert (second.code, error["code"]) == (4, 4)
    assert "--to: 2" in error["hint"]


def test_the_answer_says_how_much_of_the_traffic_has_moved(fleet: SmallFleet, run: Run) -> None:
    canary = run("promote", "ranker", "2", "--weight", "20")
    assert "ranker: 20 % of the traffic from 1 to 2 (" in canary.out
    assert "ranker: traffic from 2 to 1 (" in run("rollback", "ranker").out
    left = Rollout("left", 3, (100,), 0, "ann@elsewhere pid 1 start 2 boot x")
    fleet.write(ranker=begin(fleet.model("ranker"), left, "sha256:3", keep=1))
    assert "ranker: 3 is given up, traffic stays on 1 (" in run("rollback", "ranker").out


def test_a_rejected_version_asks(fleet: SmallFleet, run: Run) -> None:
    run("promote", "ranker", "2")
    run("rollback", "ranker")
    refused = run("promote", "ranker", "2")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert run("promote", "ranker", "2", "--yes").code == 0
    assert fleet.model("ranker").rejected == frozenset()


def test_probe_counts_requests_through_the_change(fleet: SmallFleet, run: Run) -> None:
    found = run("rollback", "ranker", "--probe", "50", "-o", "json")
    # Nothing to go back to: the probe's figures are part of the failure too.
    assert found.document("rollback")["probe"]["sent"] >= 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("promote", "ranker", "9"), 2, "committed: 1, 2, 3"),
        (("promote", "nobody", "1"), 2, "it has: ranker; a new model is first written below `models`"),
        (("promote", "ranker", "1", "--weight", "10"), 2, "is the main version already"),
        (("promote", "ranker", "2", "--weight", "10", "--steps", "5"), 2, "exclude each other"),
        (("promote", "ranker", "007"), 2, "is no version"),
        (("rollback", "ranker"), 4, "no version to go back to"),
        (("rollback", "ranker", "--to", "7"), 4, "version 7 is not loaded"),
        (("rollback", "nobody"), 2, "it has: ranker"),
        (("versions", "nobody"), 2, "it has: ranker"),
        (("predict", "ranker"), 2, "a request, or --example"),
        (("predict", "ranker", "{"), 2, "not JSON"),
        (("predict", "ranker", "@gone.json"), 2, "cannot be read"),
        (("predict", "ranker", "{}", "--grpc", "--at", "http://127.0.0.1:1"), 2, "both addresses"),
        (("predict", "ranker", "{}", "--at", "localhost:1"), 2, "a URL is expected, such as http://127.0.0.1:8501"),
        (("predict", "ranker", "{}", "--at", "http://127.0.0.1:1"), 1, "no answer: Connection refused"),
        (("inspect", "ranker", "9"), 2, "no committed version 9"),
        (("logs", "nobody"), 2, "no log of 'nobody'"),
        (("history", "--model", "nobody"), 2, "no change of a model 'nobody'"),
        (("bench", "ranker", "--duration", "0s"), 2, "above 0 is expected"),
        (("bench", "ranker", "--rate", "nan"), 2, "above 0 and at most"),
        (("promote", "ranker", "2", "--timeout", "0"), 2, "above 0 is expected"),
        (("status", "-f", "other.yaml"), 2, "belongs to another file"),
        (("down", "-f", "other.yaml", "--yes"), 2, "belongs to another file"),
        (("down",), 2, "agree with --yes"),
    ],
)
def test_refusals(words: tuple[str, ...], code: int, said: str, fleet: SmallFleet, run: Run) -> None:
    before = fleet.releases().read()
    shown = run(*words)
    assert shown.code == code, shown.err
    assert said in shown.err
    assert fleet.releases().read() == before


def test_a_version_that_would_break_clients(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    write_saved_model(tmp_path / "export" / "4", 4, output="z")
    run("push", "ranker", "export/4", "--version", "4")
    refused = run("promote", "ranker", "4")
    assert refused.code == 4
    assert "output y is gone" in refused.err
    assert run("promote", "ranker", "4", "--allow-incompatible").code == 0


def test_a_version_that_does_not_fit(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    """By what was measured when it was published, beside what is loaded, before anything is written."""
    record = tmp_path / "models" / "ranker" / "2" / "tfsdeploy.json"
    check = {"tensorflow": "2.20.0", "loadSeconds": 1.0, "memory": 1 << 20, "peakMemory": 600 << 20}
    record.write_text(json.dumps({**json.loads(record.read_text()), "check": check | {"warmUp": 0, "golden": 0}}))
    home, before = FleetFolder(tmp_path / "home", "shop"), fleet.releases().read()
    settings = home.settings()
    assert settings is not None
    home.write_settings(replace(settings, memory=800 << 20))
    refused = run("promote", "ranker", "2")
    assert (refused.code, "it was measured to need 600 MiB of memory beside" in refused.err) == (4, True), refused.err
    assert fleet.releases().read() == before
    home.write_settings(replace(settings, memory=1 << 30))
    assert run("promote", "ranker", "2").code == 0


def test_a_version_that_cannot_load(fleet: SmallFleet, run: Run) -> None:
    fleet.broken["shop-serving-3", 2] = "Op type not registered 'Frobnicate'"
    refused = run("promote", "ranker", "2", "-o", "json")
    document = refused.document("promote")
    assert refused.code == document["error"]["code"] == 4
    assert "Frobnicate" in document["error"]["message"]
    assert (document["from"], document["to"], document["generation"]) == (1, 2, None)


def test_status(fleet: SmallFleet, run: Run) -> None:
    shown = run("status", "-o", "json")
    document = shown.document("status")
    assert (shown.code, document["healthy"], document["troubles"]) == (0, True, [])
    assert document["models"]["ranker"]["traffic"] == {"1": 100}
    assert len(document["replicas"]) == 3
    text = run("status").out
    assert "shop on local" in text
    assert "1 AVAILABLE" in text
    fleet.slow.add(("shop-serving-1", 1))
    while run("status").code == 0:
        pass
    assert "ranker 1 is LOADING" in run("status").out


def test_a_fleet_without_its_supervisor_is_not_healthy(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / "fleets" / "shop" / "supervisor" / "observed.json").unlink()
    shown = run("status", "-o", "json")
    assert (shown.code, shown.document("status")["healthy"]) == (1, False)
    assert "no supervisor runs" in run("status").out


def test_doctor_looks_at_the_fleet_too(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    def findings() -> dict[str, dict[str, object]]:
        rows = run("doctor", "-o", "json").document("doctor")["findings"]
        return {row["check"]: row for row in rows if row["check"] in ("fleet", "release")}

    assert findings() == {
        "fleet": {"check": "fleet", "ok": True, "found": "every replica and gateway is well", "mend": None}
    }
    shutil.rmtree(tmp_path / "models" / "ranker" / "1")
    assert "ranker 1 is in the release and not in the store" in str(findings()["release"]["found"])
    fleet.replica_servers["shop-serving-2"].stop()
    assert findings()["fleet"]["found"] == "replica shop-serving-2: does not answer"
    assert "tfsdeploy up" in str(findings()["fleet"]["mend"])


def test_status_watch(fleet: SmallFleet, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tfsdeploy", "status", "--watch", "--interval", "0.1", "-o", "json"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            document = json.loads(process.stdout.readline())
            assert document["models"]["ranker"]["traffic"] == {"1": 100}
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "")


def test_status_watch_on_a_terminal(fleet: SmallFleet, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "tfsdeploy", "status", "--watch", "--interval", "0.1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(words, cwd=tmp_path, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = ""
        while "REQUESTS/S" not in shown:
            shown += os.read(ours, 65536).decode()
        process.send_signal(signal.SIGINT)
        # A terminal that is not read any more would hold up the last picture.
        with suppress(OSError):
            while os.read(ours, 65536):
                pass
        assert process.wait(60) == 130
    os.close(ours)
    assert "shop-serving-2" in shown


def test_diff_on_a_terminal(fleet: SmallFleet, tmp_path: Path) -> None:
    """What comes is green, what goes is red, and what changes is yellow."""
    wanted = FLEET.replace("replicas: 3", "replicas: 4") + "gateway: {replicas: 1}\n"
    (tmp_path / "fleet.yaml").write_text(wanted)
    ours, theirs = pty.openpty()
    environment = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm"}
    words, shown = [sys.executable, "-m", "tfsdeploy", "diff"], ""
    with subprocess.Popen(words, cwd=tmp_path, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        # The end of a terminal's last program is an error to who reads it.
        with suppress(OSError):
            while True:
                shown += os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 3
    colours = set(re.findall(r"\x1b\[(\d+)m(start|remove|replace)", shown))
    assert colours == {("32", "start"), ("31", "remove"), ("33", "replace")}


def test_a_model_that_only_the_file_has_begins_with_a_promote(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    document = yaml.safe_load(file.read_text())
    document["models"]["late"] = {}
    file.write_text(yaml.safe_dump(document))
    assert run("push", "late", "export/1").code == 0
    assert run("status", "-o", "json").document("status")["waiting"] == ["late"]
    assert run("promote", "late", "9").code == 2
    assert run("promote", "late", "1").code == 0
    shown = run("status", "-o", "json").document("status")
    assert (shown["models"]["late"]["traffic"], shown["waiting"]) == ({"1": 100}, [])
    assert run("promote", "nobody", "1").code == 2


def test_the_store_is_told_what_a_fleet_needs_before_it_does(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    """And a version that `gc` is removing is not promoted."""
    notes = FileNotes(tmp_path / "models")
    assert run("promote", "ranker", "2").code == 0
    assert held(notes) == {"shop": {"ranker": {1, 2}}}
    assert notes.swap("marks/ranker.json", None, b'{"marked": {}, "sweeping": [3]}')
    refused = run("promote", "ranker", "3")
    assert (refused.code, "`tfsdeploy gc` is removing version 3 of ranker" in refused.err) == (4, True)
    document = run("status", "-o", "json").document("status")
    assert (document["models"]["ranker"]["traffic"], document["models"]["ranker"]["loaded"]) == ({"2": 100}, [1, 2])
    assert run("gc", "-o", "json").document("gc")["fleets"] == ["shop"]


def test_damaged_marks_are_named(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    """`gc` stops at them; a promote goes on, and says that `gc` may not know of it."""
    marks = tmp_path / "models" / ".tfsdeploy" / "marks" / "ranker.json"
    marks.parent.mkdir(parents=True)
    for version, content in ((2, "[" * 100_000), (3, "[]"), (1, '{"sweeping": ["x"]}'), (2, "{")):
        marks.write_text(content)
        told = run("promote", "ranker", str(version))
        assert (told.code, "marks/ranker.json: these marks are damaged (remove them" in told.err) == (0, True), told
    assert "these marks are damaged" in run("gc").err
    assert held(FileNotes(tmp_path / "models")) == {"shop": {"ranker": {1, 2, 3}}}


def test_a_bucket_is_told_before_the_generation_is_written(
    s3: S3, s3_bucket: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows of what could not be released because the disk was full."""
    spec = yaml.safe_load(FLEET)
    spec |= {"store": s3_bucket, "storeOptions": dict(s3.options), "gateway": {"rest": 0, "grpc": 0}}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(spec))
    _push(run, tmp_path, 1)
    notes = BucketNotes(s3.open(s3_bucket))

    def full(*_: object) -> None:
        raise TfsdeployError("the disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(ReleaseFolder, "swap", full)
        told = run("up")
    assert (told.code, "the disk is full" in told.err) == (1, True), told
    assert held(notes) == {"shop": {"ranker": {1}}}
    with _at_home(tmp_path, s3_bucket, {"endpoint": s3.endpoint, "region": REGION}) as fleet:
        _push(run, tmp_path, 2)
        with monkeypatch.context() as disk:
            disk.setattr(ReleaseFolder, "swap", full)
            told = run("promote", "ranker", "2")
        assert "the disk is full" in told.err, told
        assert (set(fleet.model("ranker").versions), held(notes)) == ({1}, {"shop": {"ranker": {1, 2}}})
        assert run("promote", "ranker", "2").code == 0


def test_history(fleet: SmallFleet, run: Run) -> None:
    run("promote", "ranker", "2", "--why", "better scores")
    rows = run("history", "-o", "json").document("history")["history"]
    assert [row["generation"] for row in rows] == [4, 3, 2, 1]
    assert (rows[0]["command"], rows[0]["why"]) == ("promote ranker 2", "better scores")
    assert "traffic 1:100 → 2:100" in rows[1]["models"]["ranker"]
    assert len(run("history", "--limit", "1", "-o", "json").document("history")["history"]) == 1
    assert "promote ranker 2  (better scores)" in run("history").out


def test_versions(fleet: SmallFleet, run: Run) -> None:
    run("promote", "ranker", "2", "--weight", "25")
    rows = run("versions", "ranker", "-o", "json").document("versions")["versions"]
    assert [(row["version"], row["replicas"], row["traffic"]) for row in rows] == [(1, 3, 75), (2, 3, 25), (3, 0, 0)]
    assert rows[0]["digest"].startswith("sha256:")


def test_predict(fleet: SmallFleet, run: Run) -> None:
    assert json.loads(run("predict", "ranker", '{"instances": [1.0]}').out) == {"outputs": [2.0]}
    document = run("predict", "ranker", "--example", "-o", "json").document("predict")
    assert (document["protocol"], document["answer"]) == ("rest", {"outputs": [2.0]})
    at = fleet.gateways()[0].rest
    assert json.loads(run("predict", "ranker", "--example", "--at", at, "--fleet", "gone").out) == {"outputs": [2.0]}
    # What asks over gRPC is made and sent; nobody speaks it here.
    for words in (("--example",), ('{"inputs": {"x": [1.0]}}',)):
        unheard = run("predict", "ranker", *words, "--grpc")
        assert (unheard.code, "gRPC UNAVAILABLE" in unheard.err) == (1, True), unheard.err
    assert run("predict", "ranker", '{"inputs": [1.0]}', "--grpc").code == 2


def test_bench(fleet: SmallFleet, run: Run) -> None:
    shown = run("bench", "ranker", "--rest", "--rate", "100", "--duration", "300ms", "-o", "json")
    document = shown.document("bench")
    assert (shown.code, document["asked"], document["sent"], document["failed"]) == (0, 30, 30, 0)
    assert 0 < document["p50_ms"] <= document["p99_ms"] <= document["max_ms"]
    failing = run("bench", "ranker", "--grpc", "--rate", "50", "--duration", "100ms")
    assert failing.code == 1
    assert "5 failed" in failing.out
    both = run("bench", "ranker", "--rest", "--grpc", "--rate", "100", "--duration", "100ms", "-o", "json")
    assert (both.document("bench")["protocol"], both.document("bench")["failed"]) == ("both", 5)


def test_a_command_gives_up_when_its_time_is_over(fleet: SmallFleet, run: Run) -> None:
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0
    shown = run("bench", "ranker", "--rest", "--rate", "10", "--duration", "1h", "--timeout", "300ms", "-o", "json")
    error = shown.document("bench")["error"]
    assert (shown.code, error["code"], error["message"]) == (1, 1, "not done after 0.3 s, so it was given up")
    # The alarm of whoever called is as it was.
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0) == before


def test_a_time_limit_is_for_one_wait_and_not_for_all_steps(fleet: SmallFleet, run: Run) -> None:
    words = ("--steps", "10,50,100", "--interval", "4s", "--timeout", "7s")
    done = run("promote", "ranker", "2", *words, "-o", "json")
    assert (done.code, done.document("promote")["seconds"]["total"] > 7) == (0, True), done.err


def test_whoever_knows_what_is_late_says_so_when_time_is_over(fleet: SmallFleet, run: Run) -> None:
    fleet.slow.add(("shop-serving-1", 2))
    late = run("promote", "ranker", "2", "--timeout", "3s")
    assert (late.code, "was not available after 3 s: shop-serving-1: LOADING" in late.err) == (4, True), late.err
    fleet.slow.clear()
    assert run("promote", "ranker", "2").code == 0
    fleet.stuck.add("shop-gateway-2")
    late = run("rollback", "ranker", "--timeout", "3s")
    assert (late.code, "is effective on 1 of 2 gateways" in late.err) == (1, True), late.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("promote", ""), ["ranker"]),
        (("promote", "--fleet", "shop", "r"), ["ranker"]),
        (("promote", "x"), []),
        (("promote", "ranker", ""), ["3", "2", "1"]),
        (("rollback", "ranker", "--to", "2"), ["2"]),
        (("inspect", "ranker", ""), ["3", "2", "1"]),
        (("history", "--model", ""), ["ranker"]),
        (("status", "--fleet", ""), ["shop"]),
        (("promote", "-f", "gone.yaml", ""), []),
        (("versions", "--fleet", "../..", ""), []),
    ],
)
def test_a_shell_completes_what_there_is(
    words: tuple[str, ...], offered: list[str], fleet: SmallFleet, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "TFSDEPLOY_HOME": str(tmp_path / "home"),
        "_TFSDEPLOY_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("tfsdeploy", *words)),
        "COMP_CWORD": str(len(words)),
    }
    code = "from tfsdeploy.cli.main import main; main([])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.stderr == ""
    assert [line.partition(",")[2] for line in done.stdout.split()] == offered


def test_a_pinned_model_takes_its_file_along(fleet: SmallFleet, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET.replace("ranker: {}", "ranker: {version: 1}  # ours"))
    from tfsdeploy.fleet.load import load_fleet

    LocalTarget("shop", tmp_path / "home").write_pins(load_fleet(file).pins())
    assert run("promote", "ranker", "2").code == 0
    assert "ranker: {version: 2}  # ours" in file.read_text()
    warned = run("rollback", "ranker", "--no-write")
    assert "still pins ranker to 2" in warned.err
    assert "version: 2" in file.read_text()


STEPPED = ("promote", "ranker", "2", "--steps", "10,100", "-o", "json")


@pytest.fixture
def promoting(fleet: SmallFleet, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A promote in a process of its own that stays at its first step."""
    words = [sys.executable, "-m", "tfsdeploy", *STEPPED, "--interval", "60s"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while fleet.model("ranker").traffic != {1: 90, 2: 10}:
            assert process.poll() is None
        yield process
        process.kill()


def test_ctrl_c_says_how_to_go_on(promoting: subprocess.Popen[str], fleet: SmallFleet, run: Run) -> None:
    promoting.send_signal(signal.SIGINT)
    out, _ = promoting.communicate(timeout=60)
    error = json.loads(out)["error"]
    assert promoting.returncode == error["code"] == 130
    assert error["hint"] == "the same command continues; `tfsdeploy rollback ranker` aborts"
    assert fleet.model("ranker").traffic == {1: 90, 2: 10}
    assert run("rollback", "ranker").code == 0
    assert fleet.model("ranker").traffic == {1: 100}


@pytest.mark.parametrize(
    ("words", "cut", "said"),
    [
        (("down", "--yes"), (LocalTarget, "remove"), "continues; `tfsdeploy up` brings back what is missing"),
        (("push", "ranker", "export/2"), (FileStore, "publish"), "continues; `tfsdeploy versions ranker` shows"),
    ],
)
def test_ctrl_c_says_what_it_leaves(
    words: tuple[str, ...],
    cut: tuple[type, str],
    said: str,
    fleet: SmallFleet,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*cut, interrupted)
    ran = run(*words)
    assert (ran.code, f"the same command {said}" in ran.err) == (130, True), ran.err


def test_a_live_owner_is_left_alone_unless_one_insists(
    promoting: subprocess.Popen[str], fleet: SmallFleet, run: Run
) -> None:
    busy = run(*STEPPED)
    assert busy.code == busy.document("promote")["error"]["code"] == 5
    assert f"pid {promoting.pid} is changing" in busy.document("promote")["error"]["message"]
    assert run(*STEPPED, "--take-over").code == 0
    _, err = promoting.communicate(timeout=60)
    assert promoting.returncode == 5
    assert "taken over" in err


def test_a_killed_promote_is_continued(promoting: subprocess.Popen[str], fleet: SmallFleet, run: Run) -> None:
    promoting.kill()
    promoting.wait()
    assert run(*STEPPED).code == 0
    assert fleet.model("ranker").traffic == {2: 100}
    assert fleet.model("ranker").rollout is None

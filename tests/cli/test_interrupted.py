"""Ctrl-C or SIGTERM in the midst of a command: it ends at once, says how far it came, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.saved_models import write_saved_model
from tests.fault_proxy import Faults, fault_proxy
from tests.s3 import S3
from tfsdeploy.store.gc import Row, collect
from tfsdeploy.store.notes import BucketNotes
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.refs import remember, sweeping
from tfsdeploy.store.store import FileStore

LIMIT = 60.0
Interrupted = Callable[..., tuple[dict[str, Any], str]]

GC = ("gc", "m", "--keep", "1", "--yes")
WITHOUT_AGE = """
import datetime, sys
from tfsdeploy.store import gc
from tfsdeploy.cli.main import main
gc.YOUNG = -datetime.timedelta(minutes=1)
sys.exit(main())
"""


@pytest.fixture
def proxy(s3: S3) -> Iterator[Faults]:
    with fault_proxy(s3.endpoint) as faults:
        yield faults


@pytest.fixture
def store(s3: S3, s3_bucket: str, proxy: Faults, tmp_path: Path) -> ObjectStore:
    """Versions 1 to 4, of which a fleet holds the second one; the fleet file names the proxy."""
    made = ObjectStore(s3.open(s3_bucket))
    for version in range(1, 5):
        write_saved_model(tmp_path / str(version), version)
        for name in ("a", "b"):
            (tmp_path / str(version) / f"{name}.txt").write_bytes(bytes(version))
        made.publish("m", tmp_path / str(version), version)
    remember(BucketNotes(made.bucket), "other", "life", {"m": {2}}, {}, datetime.now(UTC))
    (tmp_path / "fleet.yaml").write_text(
        f"apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: {s3_bucket}\nmodels: {{m: {{}}}}\n"
        f"storeOptions: {{endpoint: {proxy.endpoint!r}, region: us-east-1}}\n"
    )
    (tmp_path / "tmp").mkdir()
    return made


@pytest.fixture
def interrupted(proxy: Faults, tmp_path: Path) -> Interrupted:
    """Starts a command, sends it a signal while requests of a path are on their way, and lets these go on.

    ``again``: the path of requests during which SIGTERM follows.
    """

    def interrupt(number: signal.Signals, held: str, *words: str, again: str = "") -> tuple[dict[str, Any], str]:
        proxy.hold(held)
        environment = {**os.environ, "TFSDEPLOY_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
        with subprocess.Popen(
            [sys.executable, "-c", WITHOUT_AGE, *words, "-o", "json"],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert proxy.arrived.acquire(timeout=LIMIT)
            process.send_signal(number)
            if again:
                go_on = proxy.go_on
                proxy.hold(again)
                go_on.set()
                assert proxy.arrived.acquire(timeout=LIMIT)
                process.send_signal(signal.SIGTERM)
            proxy.go_on.set()
            out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 130, err
        assert not list((tmp_path / "tmp").iterdir())
        document: dict[str, Any] = json.loads(out)
        assert document["error"]["code"] == 130
        return document, err

    return interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_verify(number: signal.Signals, store: ObjectStore, interrupted: Interrupted) -> None:
    document, err = interrupted(number, "m/2/a.txt", "verify", "m")
    first = store.record("m", 1)
    assert first is not None
    assert (document["checked"], document["bytes"], document["damaged"]) == (1, first.bytes, [])
    assert f"interrupted after 1 version, {first.bytes} bytes read: all as their commit records say" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_gc(number: signal.Signals, store: ObjectStore, interrupted: Interrupted) -> None:
    """Before it marks, and while it sweeps: what is held or new stays, and what may go is gone after another run."""
    document, err = interrupted(number, "marks/m.json", *GC)
    assert (document["versions"], store.versions("m")) == ([], [1, 2, 3, 4])
    assert [row.done for row in _collect(store)] == ["mark", "mark"]
    document, err = interrupted(number, "?delete", *GC)
    assert "removed before" in err
    there = store.versions("m")
    assert {2, 4} <= {*there}
    for row in document["versions"]:
        assert row["version"] not in there
    for version in there:
        record = store.record("m", version)
        assert record is not None
        store.verify(record)
    _collect(store)
    assert (store.versions("m"), store.uncommitted("m")) == ([2, 4], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_cuts_no_clean_up_off(
    number: signal.Signals, store: ObjectStore, interrupted: Interrupted
) -> None:
    """CI systems send SIGINT and then SIGTERM; what is said of versions that are gone is true by then."""
    _collect(store)
    document, _ = interrupted(number, "?delete", *GC, again="marks/m.json")
    assert {row["version"] for row in document["versions"]} == {1, 3} - {*store.versions("m")} != set()
    assert (sweeping(store.notes, "m"), store.uncommitted("m")) == (set(), [])


def test_mirror(store: ObjectStore, interrupted: Interrupted, tmp_path: Path) -> None:
    """What has come to a folder of this machine by then is gone, too."""
    copies = FileStore(tmp_path / "copies")
    document, _ = interrupted(signal.SIGTERM, "m/2/a.txt", "mirror", copies.root.as_uri(), "m")
    assert [row["version"] for row in document["versions"]] == [1]
    assert (copies.versions("m"), copies.uncommitted("m")) == ([1], [])


def _collect(store: ObjectStore) -> list[Row]:
    return list(collect(store, ["m"], keep=1, at=datetime.now(UTC) + timedelta(days=30), act=True))

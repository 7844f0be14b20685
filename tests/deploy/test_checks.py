"""What is checked before a promote writes anything."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.saved_models import write_saved_model
from tests.keys import write_key
from tfsdeploy.deploy.checks import check_canary, check_promotion, gate_of
from tfsdeploy.deploy.room import SERVER_BYTES
from tfsdeploy.deploy.stores import StoredModels
from tfsdeploy.errors import Refused, UsageError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.release.model import Change, Release
from tfsdeploy.release.transitions import add
from tfsdeploy.store.record import File, Record
from tfsdeploy.targets.base import Settings

STATE = add(1, None)
RELEASE = Release("shop", "u", 1, Change("a", "now", "", "up"), None, {"ranker": STATE})


@pytest.fixture
def store(tmp_path: Path) -> StoredModels:
    """Version 1 serves; 2 is like it, 3 answers by another name."""
    made = StoredModels((tmp_path / "models").as_uri())
    for version, output in ((1, "y"), (2, "y"), (3, "z")):
        write_saved_model(tmp_path / str(version), version, output)
        made.store.publish("ranker", tmp_path / str(version), version)
    return made


def checked(
    store: StoredModels | Lite,
    version: int,
    *,
    force: bool = False,
    memory: int | None = None,
    tflite: bool | None = None,
    told: list[str] | None = None,
) -> Record:
    settings = Settings("shop", "local", "/f", store.url, {}, 3, 2, 1, memory=memory, tflite=tflite)
    warn = [].append if told is None else told.append
    return check_promotion(store, RELEASE, STATE, "ranker", version, settings, available=None, force=force, warn=warn)


def test_signatures_of_what_serves_and_of_what_is_to_come(store: StoredModels) -> None:
    assert checked(store, 2).version == 2
    with pytest.raises(Refused, match="would break clients of version 1: serving_default output y is gone") as refused:
        checked(store, 3)
    assert "--force" in refused.value.hint
    told: list[str] = []
    assert checked(store, 3, force=True, told=told).version == 3
    words = "version 3 of ranker would break clients of version 1: serving_default output y is gone"
    assert told == [f"forced, although {words}"]
    with pytest.raises(UsageError, match="no committed version 4"):
        checked(store, 4)


@dataclass
class Lite:
    """The store of a version that is a TFLite model alone."""

    of: StoredModels

    def record(self, model: str, version: int) -> Record:
        found = self.of.record(model, version)
        assert found is not None
        return replace(found, files=(File("model.tflite", 9, "0" * 64),))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


@pytest.mark.parametrize("force", [False, True])
def test_a_kind_of_model_that_the_fleet_does_not_load_is_refused(store: StoredModels, force: bool) -> None:
    with pytest.raises(Refused, match="version 2 of ranker is a TFLite model alone, which fleet shop") as refused:
        checked(Lite(store), 2, tflite=False, force=force)
    assert "prefer_tflite_model: true" in refused.value.hint
    for loads in (True, None):
        assert checked(Lite(store), 2, tflite=loads, force=force).version == 2
    assert checked(store, 2, tflite=False, force=force).version == 2


def test_an_estimate_can_be_overridden_and_a_measure_cannot(store: StoredModels, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="by its size it needs about") as refused:
        checked(store, 2, memory=SERVER_BYTES)
    assert "--force" in refused.value.hint
    told: list[str] = []
    assert checked(store, 2, memory=SERVER_BYTES, force=True, told=told).version == 2
    assert [line.startswith("forced, although version 2 of ranker does not fit") for line in told] == [True]
    check = {"tensorflow": "2.20.0", "loadSeconds": 1.0, "memory": 9, "peakMemory": 9, "warmUp": 0, "golden": 0}
    record = tmp_path / "models" / "ranker" / "2" / RECORD_FILE
    record.write_text(json.dumps({**json.loads(record.read_text()), "check": check}))
    with pytest.raises(Refused, match="it was measured to need"):
        checked(store, 2, memory=SERVER_BYTES, force=True)


def test_no_graph_is_read_where_records_tell_the_signatures(store: StoredModels, tmp_path: Path) -> None:
    graphs = [tmp_path / "models" / "ranker" / str(version) / "saved_model.pb" for version in (1, 2, 3)]
    content = [graph.read_bytes() for graph in graphs]
    for graph in graphs:
        graph.unlink()
    assert checked(store, 2).version == 2
    with pytest.raises(Refused, match="output y is gone"):
        checked(store, 3)
    # Records of versions that were published before have none: then the graphs are read.
    for graph, known in zip(graphs, content, strict=True):
        graph.write_bytes(known)
        record = graph.with_name(RECORD_FILE)
        record.write_text(json.dumps({**json.loads(record.read_text()), "signatures": None}))
    assert checked(store, 2).version == 2
    with pytest.raises(Refused, match="output y is gone"):
        checked(store, 3)


def test_what_is_not_signed_is_refused(store: StoredModels, tmp_path: Path) -> None:
    _, key = write_key(tmp_path, "release")
    with pytest.raises(Refused, match="not signed"):
        checked(StoredModels(store.url, {"require_signature": [key]}), 2)


def test_golden_requests_that_cannot_be_understood_are_refused(store: StoredModels, tmp_path: Path) -> None:
    write_saved_model(tmp_path / "4", 4)
    (tmp_path / "4" / "golden.json").write_text("[]")
    store.store.publish("ranker", tmp_path / "4", 4)
    with pytest.raises(Refused, match="it holds no request"):
        gate_of(store, checked(store, 4), None)
    assert gate_of(store, checked(store, 2), None).golden == ()


def test_a_canary_is_another_version() -> None:
    check_canary(add(7, None), 7, (100,))
    check_canary(add(7, None), 8, (10,))
    with pytest.raises(UsageError, match="is the main version already"):
        check_canary(add(7, None), 7, (10,))

"""What this server does better than the original when a flag asks for it, and not without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models import write_constant
from tests.server.arrays import LIMIT_SECONDS
from tests.server.live import Live, config, wait
from tests.server.test_reload import Unit
from tfsdeploy.protocol.model_config import All, Latest, ModelConfig, Specific
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import source
from tfsdeploy.server.completeness import check


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Unit]:
    made = Unit(tmp_path, like_tfs=False, keep_missing=True)
    yield made
    made.close()


def test_without_the_flag_what_is_gone_is_unloaded(tmp_path: Path) -> None:
    unit = Unit(tmp_path, like_tfs=False)
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    shutil.rmtree(tmp_path / "m" / "1")
    unit.becomes("m", {1: "END"})
    unit.close()


def test_with_it_an_empty_folder_unloads_nothing(keeping: Unit) -> None:
    keeping.publish("m", 1)
    keeping.write(keeping.entry("m"))
    keeping.reloader.start()
    keeping.becomes("m", {1: "AVAILABLE"})
    shutil.rmtree(keeping.folder / "m" / "1")
    keeping.publish("other", 1)
    keeping.write(keeping.entry("m"), keeping.entry("other"))
    keeping.becomes("other", {1: "AVAILABLE"})
    assert [row.state for row in keeping.manager.status("m")] == ["AVAILABLE"]
    keeping.publish("m", 2)
    keeping.becomes("m", {1: "END", 2: "AVAILABLE"})


@pytest.mark.parametrize(
    ("policy", "there", "loaded", "expected"),
    [
        (Latest(), set(), {1}, {1}),
        (Latest(), {2}, {1}, {2}),
        (All(), set(), {1, 2}, {1, 2}),
        (All(), {2}, {1, 2}, {2}),
        (Specific((1, 3)), {3}, {1}, {1, 3}),
        (Specific((3,)), set(), {1}, set()),
        (Specific(()), set(), {1}, set()),
    ],
    ids=str,
)
def test_what_is_kept(policy: object, there: set[int], loaded: set[int], expected: set[int]) -> None:
    model = ModelConfig("m", "/m", policy)  # type: ignore[arg-type]
    found = source.kept(model, {version: f"/m/{version}" for version in there}, frozenset(loaded))
    assert set(found) == expected


@pytest.mark.parametrize("scans", [0.1, 0, 3600])
def test_a_version_that_failed_is_loaded_again_however_seldom_folders_are_looked_at(
    scans: float, tmp_path: Path
) -> None:
    unit = Unit(tmp_path, like_tfs=False, polls=0, scans=scans, retry_failed_seconds=0.1)
    unit.publish("m", 1, bad=True)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    assert unit.manager.wait(lambda: len(unit.loads) > 1, LIMIT_SECONDS)
    (tmp_path / "m" / "1" / "bad").unlink()
    unit.becomes("m", {1: "AVAILABLE"})
    unit.close()


def test_a_retry_that_nobody_waits_for_holds_nothing_up(tmp_path: Path) -> None:
    unit = Unit(tmp_path, like_tfs=False, retry_seconds=3600)
    unit.publish("m", 1)
    unit.write(unit.entry("m"))
    unit.reloader.start()
    unit.becomes("m", {1: "AVAILABLE"})
    unit.publish("m", 2, bad=True)
    assert unit.manager.wait(lambda: len(unit.loads) > 1, LIMIT_SECONDS)
    unit.publish("m", 3)
    unit.becomes("m", {1: "END", 2: "END", 3: "AVAILABLE"})
    unit.close()


def test_a_version_without_its_variables_or_assets_is_not_complete(tmp_path: Path) -> None:
    write_constant(tmp_path / "1", 3.0)
    check(str(tmp_path / "1"))
    index = tmp_path / "1" / "variables" / "variables.index"
    index.unlink()
    with pytest.raises(Failed) as raised:
        check(str(tmp_path / "1"))
    assert raised.value.code == "UNAVAILABLE"
    assert raised.value.message == f"The version is not complete: there is no {index}"


def test_with_check_complete_a_server_loads_no_version_that_is_not(tmp_path: Path) -> None:
    """The original serves it, without its variables: every request fails."""
    base = tmp_path / "m"
    write_constant(base / "1", 3.0)
    write_constant(base / "2", 4.0)
    away = tmp_path / "variables"
    (base / "2" / "variables").rename(away)
    flags = [f"--model_base_path={base}", "--model_name=m", "--max_num_load_retries=0"]
    with Live(tmp_path / "plain", *flags) as server:
        server.serves("m", 2)
        assert server.ask("POST", "/v1/models/m:predict", b'{"instances": [0.0]}')[0] != 200
    (tmp_path / "all").write_text(config(tmp_path, m="model_version_policy { all {} }"))
    flags = [f"--model_config_file={tmp_path / 'all'}", "--max_num_load_retries=0", "--retry_failed_seconds=1"]
    with Live(tmp_path / "log", *flags, "--check_complete") as server:
        index = base / "2" / "variables" / "variables.index"
        refused = ("END", f"The version is not complete: there is no {index}")
        wait("the refusal", lambda: server.states("m").get(2) == refused)
        assert server.predict("m", 0.0) == 3.0
        away.rename(base / "2" / "variables")
        server.serves("m", 1, 2)
        assert server.predict("m", 0.0) == 4.0


def test_lines_of_the_log_are_json_and_say_how_bad_it_is(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "config").write_text(config(tmp_path, away="", none=""))
    flags = [f"--model_config_file={tmp_path / 'config'}", "--enable_profiler"]
    with Live(tmp_path / "log", *flags, "--log_format=json") as server:
        wait("REST", lambda: "Exporting HTTP/REST API" in server.said())
        lines = [json.loads(line) for line in server.said().splitlines() if line.startswith("{")]
    assert all({"time", "severity", "message"} == set(line) for line in lines)
    for severity, words in (
        ("INFO", "Running gRPC ModelServer"),
        ("WARNING", "--enable_profiler: "),
        ("WARNING", "No versions of servable none found under base path"),
        ("ERROR", "Could not find base path"),
    ):
        assert any(line["severity"] == severity and words in line["message"] for line in lines), words

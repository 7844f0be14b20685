"""What commands say and do where the fleet file or the store's folder is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_release import FLEET
from tests.fault_proxy import fault_proxy
from tests.s3 import S3
from tfsdeploy.release.model import ModelRelease
from tfsdeploy.release.update import Author, nothing
from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.local.state import FleetFolder
from tfsdeploy.targets.local.target import LocalTarget


@pytest.fixture
def target(tmp_path: Path, run: Run) -> LocalTarget:
    """A fleet without processes, whose store nobody has made yet."""
    assert run("init", "shop").code == 0
    (tmp_path / "fleet.yaml").write_text(FLEET)
    home = FleetFolder(tmp_path / "home", "shop")
    home.make()
    home.write_settings(
        Settings("shop", "local", str(tmp_path / "fleet.yaml"), (tmp_path / "models").as_uri(), {}, 3, 2, 1)
    )
    return LocalTarget("shop", tmp_path / "home")


def test_only_a_fleet_that_never_had_a_version_lets_its_store_be_made(
    target: LocalTarget, tmp_path: Path, run: Run
) -> None:
    waiting = nothing("shop").next({}, Author("ann@here", "up").change())
    target.releases().swap(waiting, None)
    assert run("push", "ranker", "shop/half_plus_three").code == 0
    shutil.rmtree(tmp_path / "models")
    served = waiting.next({"ranker": ModelRelease({1: None}, {1: 100}, main=1)}, waiting.change)
    target.releases().swap(served, waiting)
    refused = run("push", "ranker", "shop/half_plus_three")
    assert (refused.code, "mount it again" in refused.err) == (1, True)


def test_an_object_store_that_is_not_well_is_not_to_be_mounted(
    s3: S3, s3_bucket: str, target: LocalTarget, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelRelease({1: None}, {1: 100}, main=1)
    target.releases().swap(nothing("shop").next({"ranker": model}, Author("ann@here", "up").change()), None)
    with fault_proxy(s3.endpoint) as faults:
        options = f"storeOptions: {{endpoint: {faults.endpoint!r}, region: us-east-1}}\n"
        (tmp_path / "fleet.yaml").write_text(FLEET.replace("file://./models", s3_bucket) + options)
        monkeypatch.setattr("tfsdeploy.store.connect._RETRY", {"max_retries": 0})
        faults.kinds, faults.statuses, faults.rate = ("refuse",), (500,), 1.0
        told = run("versions", "ranker")
    assert (told.code, "the store answers 500" in told.err) == (1, True), told.err
    assert "fleet shop serves on without it; run this again later" in told.err


def test_doctor_tells_what_runs_although_the_store_is_away(target: LocalTarget, run: Run) -> None:
    model = ModelRelease({1: None}, {1: 100}, main=1)
    target.releases().swap(nothing("shop").next({"ranker": model}, Author("ann@here", "up").change()), None)
    told = run("doctor")
    assert told.code == 1
    assert "no supervisor runs" in told.out
    assert "the store is away" in told.out


def test_without_a_fleet_file_those_that_can_be_named_are_told(target: LocalTarget, tmp_path: Path, run: Run) -> None:
    (tmp_path / "fleet.yaml").unlink()
    for words in (("status",), ("rollback", "ranker"), ("push", "ranker", "shop/half_plus_three")):
        told = run(*words)
        assert (told.code, "--fleet NAME does without, up on this machine: shop" in told.err) == (2, True), told.err
    assert "--fleet" not in run("up").err

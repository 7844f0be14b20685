"""A state folder that cannot be read: every command names the file and the way out, and none calls it its own error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_release import FLEET
from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.local.state import FleetFolder

COMMANDS = {
    "status": ("status",),
    "diff": ("diff",),
    "up": ("up",),
    "promote": ("promote", "ranker", "1"),
    "rollback": ("rollback", "ranker"),
    "history": ("history",),
    "versions": ("versions", "ranker"),
    "logs": ("logs",),
    "doctor": ("doctor",),
    "down": ("down", "--yes"),
}

DAMAGED = ["", "{}", "[1]", "null", '{"fleet": 7}', "\x00\x01", "{" * 5000]


@pytest.fixture
def home(tmp_path: Path, run: Run) -> FleetFolder:
    """The state of a fleet without processes, and its file and store."""
    assert run("init", "shop").code == 0
    os.rename(tmp_path / "shop" / "models", tmp_path / "models")
    (tmp_path / "fleet.yaml").write_text(FLEET)
    assert run("push", "ranker", "shop/half_plus_three").code == 0
    home = FleetFolder(tmp_path / "home", "shop")
    home.make()
    home.write_settings(
        Settings("shop", "local", str(tmp_path / "fleet.yaml"), (tmp_path / "models").as_uri(), {}, 3, 2, 1)
    )
    return home


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("name", COMMANDS)
def test_damaged_settings(home: FleetFolder, run: Run, name: str, content: str) -> None:
    settings = home.path / "settings.json"
    settings.write_text(content)
    ran = run(*COMMANDS[name])
    assert ran.code in (0, 1, 2) if name == "down" else ran.code == 1
    assert "internal error" not in ran.err
    if ran.code:
        assert str(settings) in ran.out + ran.err
        assert "tfsdeploy up" in ran.out + ran.err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_copy_of_another_fleet_s_state_is_not_taken_for_its_own(home: FleetFolder, run: Run, name: str) -> None:
    settings = home.path / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "fleet": "cinema"}))
    ran = run(*COMMANDS[name])
    assert ran.code == 1, ran
    assert "this is the state of fleet cinema, in the folder of fleet shop" in ran.out + ran.err
    assert home.path.exists()


def test_settings_of_a_newer_version_are_read(home: FleetFolder, run: Run) -> None:
    settings = home.path / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "later": [1]}))
    found = home.settings()
    assert found is not None
    assert found.replicas == 3


@pytest.mark.parametrize("name", ["status", "diff", "up", "promote", "rollback", "history", "doctor"])
def test_damaged_release(home: FleetFolder, run: Run, name: str) -> None:
    (home.path / "release.json").write_text('{"apiVersion": "tfsdeploy/v1"}')
    ran = run(*COMMANDS[name])
    assert ran.code == 1
    assert "release.json" in ran.out + ran.err
    assert "internal error" not in ran.err
    if name == "doctor":
        assert "TensorFlow" in ran.out, "the table is whole"


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("mirror", "file://./elsewhere"),
        ("adopt", "ranker", "1"),
        ("push", "ranker", "shop/half_plus_three", "--version", "7"),
    ],
    ids=lambda words: words[0],
)
def test_a_store_that_is_there_is_used_without_the_release(
    home: FleetFolder, run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (home.path / "release.json").write_text("{")
    assert run(*(word.replace("file://.", tmp_path.as_uri()) for word in words)).code == 0
    # What the fleet needs is not known, so nothing is removed.
    told = run("gc", "--yes")
    assert (told.code, "release.json" in told.err) == (1, True), told


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "down"])
def test_folder_of_somebody_else(home: FleetFolder, tmp_path: Path, name: str) -> None:
    home.path.chmod(0o000)
    try:
        ran = _without_privilege(tmp_path, *COMMANDS[name])
    finally:
        home.path.chmod(0o700)
    assert ran.returncode == 1, ran
    assert "internal error" not in ran.stderr
    assert str(home.path) in ran.stdout + ran.stderr
    assert "ermission denied" in ran.stdout + ran.stderr


def test_one_unreadable_version_hides_no_other(home: FleetFolder, tmp_path: Path, run: Run) -> None:
    assert run("push", "ranker", "models/half_plus_two/1").code == 0
    (tmp_path / "models" / "ranker" / "1" / "tfsdeploy.json").chmod(0o644)
    (tmp_path / "models" / "ranker" / "1" / "tfsdeploy.json").write_text("nonsense")
    ran = run("versions", "ranker", "-o", "json")
    rows = {row["version"]: row["digest"] for row in ran.document("versions")["versions"]}
    assert rows[1] is None
    assert rows[2] is not None
    assert "ranker/1/tfsdeploy.json" in ran.err
    assert "None" not in run("versions", "ranker").out


def _without_privilege(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command for whom permissions count; root is otherwise above them (capabilities(7))."""
    drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    argv = [*drop, sys.executable, "-P", "-m", "tfsdeploy", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)

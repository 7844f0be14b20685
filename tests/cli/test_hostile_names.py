"""Names on the command line lead nowhere but to what they name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("command", ["down --yes", "status", "rollback m", "logs", "history"])
@pytest.mark.parametrize("name", ["../../precious", "x/../../../precious", "..", ".", "", "/precious", "Shop", "a\nb"])
def test_what_is_no_fleet_name_is_refused(tmp_path: Path, command: str, name: str) -> None:
    home, precious = tmp_path / "home", tmp_path / "precious"
    home.mkdir()
    precious.mkdir()
    (precious / "letters").write_text("kept")
    word, *rest = command.split()
    argv = [sys.executable, "-m", "tfsdeploy", word, *rest, "--fleet", str(precious) if name == "/precious" else name]
    environment = {**os.environ, "TFSDEPLOY_HOME": str(home)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert (precious / "letters").read_text() == "kept"


def test_an_answer_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tfsdeploy", "schema"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr

"""Whose a folder of the node may become: the command of the container that hands it to the agents, run as it stands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tfsdeploy.render.kubernetes.containers import TAKE_CACHE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away, as that container does")

AGENTS = 65532


@pytest.mark.parametrize(
    ("owner", "there", "taken"),
    [(0, (), True), (0, ("lost+found",), True), (0, ("passwd",), False), (AGENTS, ("a", "b"), True)],
)
def test_whose_it_is_afterwards(tmp_path: Path, owner: int, there: tuple[str, ...], taken: bool) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    for name in there:
        (folder / name).mkdir()
    os.chown(folder, owner, owner)
    *command, _ = TAKE_CACHE
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert (folder.stat().st_uid == AGENTS, done.returncode == 0) == (taken, taken)
    assert ("name another one" in done.stderr) != taken

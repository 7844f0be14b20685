"""What is rendered is what was reviewed, on every machine and in every surrounding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.render.kubernetes.goldens import NAMES, fleet_file, rendered
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.render.kubernetes.artefacts import MARKER, kubernetes_artefacts

HERE = Path(__file__).parents[3]

DUMP = "from tfsdeploy.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("name", NAMES)
def test_rendered_as_reviewed(name: str) -> None:
    found = kubernetes_artefacts(load_fleet(fleet_file(name)))
    assert found == rendered(name), "`make golden` renders them anew; review the difference"
    assert list(found) == sorted(found)
    assert all(text.startswith(MARKER) and text.endswith("\n") and "\n\n" not in text for text in found.values())


def test_equal_bytes_whatever_is_around(tmp_path: Path) -> None:
    outputs = {_streamed(folder, seed, locale, encoding) for folder, seed, locale, encoding in (
        (tmp_path, "0", "C", "latin-1"), (tmp_path, "1", "C.UTF-8", "utf-8"), (HERE, "4242", "POSIX", "ascii"),
    )}  # fmt: skip
    assert len(outputs) == 1
    assert str(HERE).encode() not in outputs.pop()


def _streamed(folder: Path, seed: str, locale: str, encoding: str) -> bytes:
    surroundings = os.environ | {
        "PYTHONPATH": str(HERE), "PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONUTF8": "0",
        "PYTHONIOENCODING": encoding, "TZ": f"X{seed[0]}",
    }  # fmt: skip
    files = [os.path.relpath(fleet_file(name), folder) for name in NAMES]
    argv = [sys.executable, "-c", DUMP, "render", "-t", "kubernetes", "-o", "-", *files]
    return subprocess.run(argv, cwd=folder, env=surroundings, check=True, capture_output=True).stdout

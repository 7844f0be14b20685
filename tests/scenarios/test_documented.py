"""The commands of the documentation, as they are written there, against the S3 server of the tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.s3 import KEY, S3, SECRET

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"
NOT_HERE = ("pip install", "echo '{", '"actions"', "mkdir s3")
"""What brings the server, which runs already."""

LIMIT = 200.0


def _block(s3: S3) -> list[str]:
    """The lines of the block, with the addresses, the keys and the free ports of this machine."""
    block = PAGE.read_text().split("## An object store in five minutes")[1].split("\n## ")[0]
    lines = [line.strip() for line in block.splitlines() if line.startswith("    ")]
    text = "\n".join(line for line in lines if not line.startswith(NOT_HERE))
    for written, here in (
        ("ID=local ", f"ID={KEY} "),
        ("KEY=local-secret", f"KEY={SECRET}"),
        ("http://127.0.0.1:8888", f"http://127.0.0.1:{s3.filer}"),
        ("http://127.0.0.1:8333", s3.endpoint),
        ("--replicas 3", "--replicas 3 --free-ports"),
    ):
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    return text.splitlines()


def _in_the_file(line: str) -> str:
    """A line of a comment that tells what to write into the fleet file, as a command that does."""
    found = re.fullmatch(r"#(?: in fleet\.yaml:)? +((store|storeOptions): .*)", line)
    if found is None:
        return line
    return f"sed -i '/^{found[2]}:/d' fleet.yaml && echo '{found[1]}' >> fleet.yaml"


def _bash(script: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip


@pytest.mark.any_server
def test_an_object_store_in_five_minutes(mode: str, s3: S3, tmp_path: Path) -> None:
    lines = [_in_the_file(line) for line in _block(s3)]
    assert sum("fleet.yaml" in line for line in lines) == 2
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TFSDEPLOY_HOME": str(tmp_path / "home"),
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_CONFIG_FILE": "/dev/null",
    }
    script = "\n".join((*lines, "tfsdeploy status -o json"))
    try:
        done = _bash(script, tmp_path, environment)
    finally:
        for file in tmp_path.glob("*/fleet.yaml"):
            _bash("tfsdeploy down --yes", file.parent, environment)
    assert done.returncode == 0, done
    assert "s3://models/prod: 1 model" in done.stdout
    assert re.search(r"2\.5,\s*3\.0,\s*4\.5", done.stdout), done.stdout
    status = json.loads(done.stdout.splitlines()[-1])
    assert status["models"]["half_plus_two"]["traffic"] == {"1": 100}
    assert status["models"]["half_plus_two"]["loaded"] == [1, 2]

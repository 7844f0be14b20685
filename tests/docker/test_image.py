"""`image build` on a real engine: the Dockerfile of the agents' image, step by step, and what runs from it.

No registry is reached from here: the official Python image is stood in for by Debian's Python, whose /usr/local is a
virtual environment as much as the official one's is an installation, and which finds its wheels in a folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.build import cache
from tests.cluster.dockerfile import BASE as OFFICIAL
from tests.cluster.dockerfile import PYTHON
from tests.cluster.images import kept_layer
from tests.cluster.product import ROOT
from tests.docker.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

MADE = "registry.test:5000/agent:built"
FLEET = f"""\
apiVersion: tfsdeploy/v1
kind: Fleet
name: shop
store: file:///models
agent: {{image: {MADE!r}}}
models: {{m: {{}}}}
"""
BASE = """\
FROM debian-with-python
COPY wheels /wheels
ENV PATH=/usr/local/bin:/usr/bin:/bin PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
"""


@pytest.fixture(scope="module")
def base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the Dockerfiles are built from, under its official name."""
    name, folder = OFFICIAL, tmp_path_factory.mktemp("base")
    wheels = ["--quiet", "--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={folder / 'wheels'}"]
    pip = [*outside(), sys.executable, "-m", "pip"]
    subprocess.run([*pip, "download", *wheels, f"--constraint={ROOT / 'constraints.txt'}", *needed()], check=True)
    (folder / "Dockerfile").write_text(BASE)
    engine.docker("import", str(kept_layer(cache() / "layers" / "python-venv.tar", _debian).file), "debian-with-python")
    engine.docker("build", "--tag", name, str(folder))
    yield name
    engine.docker("rmi", "--force", name, "debian-with-python")


def outside() -> list[str]:
    """The words that run a command in the machine's own network: these tests' thread is in the engine's."""
    return ["nsenter", f"--target={os.getppid()}", "--net", "--"]


def needed() -> list[str]:
    """What the agents' image installs, and what makes the wheel of the product."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    signing = project["project"]["optional-dependencies"]["signing"]
    return [*project["project"]["dependencies"], *signing, *project["build-system"]["requires"]]


def _debian(file: Path) -> None:
    hook = '--customize-hook=chroot "$1" python3 -m venv /usr/local'
    words = [*outside(), "mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "--include=python3-venv", hook]
    subprocess.run([*words, "bookworm", str(file)], check=True)


def test_the_agents_image_is_built_and_runs(engine: Engine, base: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    words = [sys.executable, "-m", "tfsdeploy", "image", "build", "-f", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        assert f"built {MADE}" in done.stdout + done.stderr
        limits = ("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL")
        version = subprocess.check_output([sys.executable, "-m", "tfsdeploy", "--version"], text=True)
        assert engine.docker(*limits, MADE, "--version") == version
        assert "SIGTERM makes the replica leave" in engine.docker(*limits, MADE, "agent", "replica", "--help")
        # A new volume belongs to the agents' user, who is not root.
        writing = ("--volume=/run/tfsdeploy", "--entrypoint=/bin/sh", MADE, "-c", "id -u; echo x > /run/tfsdeploy/x")
        assert engine.docker(*limits, *writing) == "65532\n"
    finally:
        engine.docker("rmi", "--force", MADE)
        engine.docker("image", "prune", "--force")

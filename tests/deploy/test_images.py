"""What is built, by which words, and from which files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cluster.dockerfile import said_by
from tests.images.test_dockerfiles import NAMES
from tfsdeploy.deploy import images
from tfsdeploy.deploy.images import Image, build, build_command, own_images, write_context
from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.grammar import AGENT_IMAGE, MODEL_SERVER_IMAGE
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.report import Silent

ROOT = Path(__file__).parents[2]
AGENT = Image("mirror.example/tfsdeploy/agent:1", "images/agent.Dockerfile")
FILE = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: pvc://models\nmodels: {m: {}}\n"


@pytest.mark.parametrize(
    ("platforms", "push", "words"),
    [
        ((), False, "docker build --file images/agent.Dockerfile --tag mirror.example/tfsdeploy/agent:1 ."),
        ((), True, "docker build --file images/agent.Dockerfile --tag mirror.example/tfsdeploy/agent:1 ."),
        (
            ("linux/amd64", "linux/arm64"),
            True,
            "docker buildx build --file images/agent.Dockerfile --tag mirror.example/tfsdeploy/agent:1 "
            "--platform linux/amd64,linux/arm64 --push .",
        ),
        (
            ("linux/arm64",),
            False,
            "docker buildx build --file images/agent.Dockerfile --tag mirror.example/tfsdeploy/agent:1 "
            "--platform linux/arm64 --load .",
        ),
    ],
)
def test_words_of_a_build(platforms: tuple[str, ...], push: bool, words: str) -> None:
    assert " ".join(build_command(AGENT, platforms, push=push)) == words


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ("", [AGENT_IMAGE]),
        ("imageRegistry: mirror.example\n", [f"mirror.example/{AGENT_IMAGE}"]),
        ("serving: {image: 'tensorflow/serving:2.20.0'}\n", [AGENT_IMAGE]),
        (f"serving: {{image: '{MODEL_SERVER_IMAGE}'}}\n", [AGENT_IMAGE, MODEL_SERVER_IMAGE]),
        ("agent: {image: 'a.example/mine:3'}\n", ["a.example/mine:3"]),
        (
            "serving: {image: 'tfsdeploy/model-server:nightly'}\nimageRegistry: 'localhost:5000'\n",
            [f"localhost:5000/{AGENT_IMAGE}", "localhost:5000/tfsdeploy/model-server:nightly"],
        ),
    ],
)
def test_images_of_a_fleet(more: str, names: list[str]) -> None:
    assert [image.name for image in own_images(parse_fleet(FILE + more, "fleet.yaml"))] == names


def test_several_platforms_need_a_registry() -> None:
    with pytest.raises(UsageError, match="one platform only"):
        build([AGENT], ("linux/amd64", "linux/arm64"), Silent(), pushed=False)


def test_a_source_tree_and_an_installed_wheel_give_the_same_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_tree, from_wheel, installed = tmp_path / "tree", tmp_path / "wheel", tmp_path / "installed"
    from_tree.mkdir()
    from_wheel.mkdir()
    write_context(from_tree)
    words = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(from_tree))
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(installed)
    monkeypatch.setattr(images, "_PACKAGE", installed / "tfsdeploy")
    write_context(from_wheel)
    assert contents(from_tree) == contents(from_wheel)
    assert all((from_tree / path).exists() for name in NAMES for path in said_by(name).context)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.suffix != ".pyc"}

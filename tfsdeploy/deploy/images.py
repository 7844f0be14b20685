"""The product's images: built from this very installation, pushed to a registry, or loaded into a local cluster."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.grammar import MODEL_SERVER_IMAGE
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.programs import run
from tfsdeploy.render.images import full_image, repository
from tfsdeploy.report import Report

_PACKAGE = Path(__file__).resolve().parent.parent

SOURCES = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", ".dockerignore", "images")
"""What the Dockerfiles need beside the package and its templates; the wheel carries it in ``_source``."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that this product makes.

    Attributes:
        name: with registry and tag, as the fleet file says.
        dockerfile: its Dockerfile, below the context.
    """

    name: str
    dockerfile: str


def own_images(fleet: Fleet) -> tuple[Image, ...]:
    """The images of a fleet that are made here: the agents', and the embedded model server's if the fleet has it."""
    made = [Image(full_image(fleet.agent.image, fleet.image_registry), "images/agent.Dockerfile")]
    server = full_image(fleet.serving.image, fleet.image_registry)
    if repository(server).endswith(repository(MODEL_SERVER_IMAGE)):
        made.append(Image(server, "images/model-server.Dockerfile"))
    return tuple(made)


def build_command(image: Image, platforms: Sequence[str], *, push: bool) -> list[str]:
    """The words that build an image. Pure.

    Args:
        image: what is built.
        platforms: such as ``linux/arm64``; none: that of the engine.
        push: send it to its registry at once, as images of several platforms must be: no engine keeps them.
    """
    common = ["--file", image.dockerfile, "--tag", image.name]
    if not platforms:
        return ["docker", "build", *common, "."]
    # A builder that is not the engine's own keeps what it built to itself, unless it is told.
    kept = "--push" if push else "--load"
    return ["docker", "buildx", "build", *common, "--platform", ",".join(platforms), kept, "."]


def push(images: Sequence[Image], report: Report) -> None:
    """Send images to their registries.

    Raises:
        TfsdeployError: an image is not built, or the registry refuses.
    """
    for image in images:
        report.waiting(f"pushing {image.name}")
        run(["docker", "push", image.name])
        report.say(f"pushed {image.name}")


def build(images: Sequence[Image], platforms: Sequence[str], report: Report, *, pushed: bool) -> None:
    """Build images, and push them if asked.

    Raises:
        UsageError: several platforms and no registry to push to.
        TfsdeployError: no docker, no engine, no buildx, or a step failed; its last words are told.
    """
    if len(platforms) > 1 and not pushed:
        raise UsageError("an engine keeps images of one platform only", hint="add --push, or name one platform")
    with tempfile.TemporaryDirectory(prefix="tfsdeploy-images-") as folder:
        write_context(Path(folder))
        for image in images:
            report.waiting(f"building {image.name}")
            run(build_command(image, platforms, push=pushed), Path(folder))
            report.say(f"built {image.name}")
    if pushed and not platforms:
        push(images, report)


def write_context(folder: Path) -> None:
    """Write what the Dockerfiles copy, from an installed package or a source tree.

    Raises:
        TfsdeployError: the installation is not whole.
    """
    kept = _PACKAGE / "_source"
    source = kept if kept.is_dir() else _PACKAGE.parent
    if not (source / "images").is_dir():
        raise TfsdeployError("the Dockerfiles are missing", where=str(source), hint="install tfsdeploy again")
    for name in SOURCES:
        path = source / name
        if path.is_dir():
            shutil.copytree(path, folder / name)
        else:
            shutil.copy(path, folder / name)
    left_out = shutil.ignore_patterns("__pycache__", "_templates", "_source")
    shutil.copytree(_PACKAGE, folder / "tfsdeploy", ignore=left_out)
    templates = _PACKAGE / "_templates"
    shutil.copytree(templates if templates.is_dir() else _PACKAGE.parent / "templates", folder / "templates")

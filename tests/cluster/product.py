"""The images of a fleet, made by the steps of `images/` on a local root file system: no registry, no Docker."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PathDistribution
from pathlib import Path

from tests.cluster.build import cache
from tests.cluster.dockerfile import PYTHON, Said, said_by
from tests.cluster.images import Image, Layer, kept_layer, pack
from tfsdeploy import __version__
from tfsdeploy.fleet.grammar import GATEWAY_IMAGE
from tfsdeploy.gateway.shape import envoy_binary

ROOT = Path(__file__).parents[2]

PACKAGES = f"usr/local/lib/python{PYTHON}/dist-packages"
PROGRAMS = "usr/local/bin"

TAG = os.environ.get("TFSDEPLOY_CLUSTER_TAG") or __version__
"""Trees that share a cluster need a tag each, or one would run the other's images."""

AGENT_IMAGE = f"tfsdeploy/agent:{TAG}"
SERVER_IMAGE = f"tfsdeploy/model-server:{TAG}"

(BEFORE,) = (Path(__file__).parent / "before").glob("*.whl")
"""The wheel of the version before, whose agents work together with this one's."""

BEFORE_IMAGE = "tfsdeploy/agent:before"

NAMES = (GATEWAY_IMAGE, SERVER_IMAGE, AGENT_IMAGE, BEFORE_IMAGE)
"""Of all images of this tree."""

KEPT = 2
"""Layers of a kind that are kept, the last that were used: TensorFlow's have two gigabytes."""

LEFT_OUT = ("doc", "man", "locale", "info")
GLIBC = ("2014", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34")
"""What wheels say they need of the C library, as far as Debian 12's is enough; others are not found."""

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def images() -> Iterator[Image]:
    """The images, from those that change least to those that change with every line of code."""
    debian = _kept("debian", " ".join(LEFT_OUT), _debian)
    envoy = envoy_binary()
    layer = _kept("envoy", GATEWAY_IMAGE, lambda file: pack(file, {f"{PROGRAMS}/envoy": envoy}))
    yield Image(GATEWAY_IMAGE, (debian, layer), ("envoy",), PATH)
    product = _product()
    for name in (SERVER_IMAGE, AGENT_IMAGE):
        said = said_by(name.partition("/")[2].partition(":")[0])
        layers = (debian, _dependencies(said.extra), product, *_beside(said))
        yield Image(name, layers, said.entrypoint, PATH | said.environment, said.user)


def _debian(file: Path) -> None:
    """Debian with its Python."""
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    words = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "--include=python3,ca-certificates"]
    subprocess.run([*words, *left_out, "bookworm", str(file)], check=True)


def _dependencies(extra: str) -> Layer:
    """What the wheel needs, with one of its extras, in the versions of constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"][extra]]
    constraints = ROOT / "constraints.txt"

    def install(folder: Path) -> None:
        machine = subprocess.check_output(["uname", "-m"], text=True).strip()
        _pip(folder, "--no-compile", f"--constraint={constraints}", *wheels_for(machine), *needed)

    key = constraints.read_text() + " ".join(needed)
    return _kept(f"dependencies-{extra}", key, _packages(install))


def wheels_for(machine: str) -> list[str]:
    """What tells pip to take only wheels that the images' Python can use on a kind of machine, such as ``aarch64``."""
    platforms = [f"--platform=manylinux{version}_{machine}" for version in GLIBC]
    return ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms]


def image_before() -> Image:
    """The agents' image of the version before."""
    said = said_by("agent")
    layer = _kept("before", BEFORE.name, _packages(lambda folder: _install(folder, BEFORE)))
    debian = _kept("debian", " ".join(LEFT_OUT), _debian)
    return Image(
        BEFORE_IMAGE, (debian, _dependencies(said.extra), layer), said.entrypoint, PATH | said.environment, said.user
    )


def _product() -> Layer:
    """The wheel and its programs."""

    def install(folder: Path) -> None:
        _install(folder, ROOT)

    sources = [ROOT / "pyproject.toml", *sorted(p for d in ("tfsdeploy", "templates") for p in (ROOT / d).rglob("*"))]
    digest = hashlib.sha256(b"programs of the wheel alone\0")
    for source in sources:
        if source.is_file() and source.suffix != ".pyc":
            digest.update(str(source.relative_to(ROOT)).encode() + b"\0" + source.read_bytes() + b"\0")
    return _kept("product", digest.hexdigest(), _packages(install))


def _beside(said: Said) -> Iterator[Layer]:
    """The other names of programs, and the empty folders that belong to the image's user."""

    def make(file: Path) -> None:
        with tarfile.open(file, "w") as tar:
            for name, target in said.links.items():
                entry = tarfile.TarInfo(f"{PROGRAMS}/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
            for folder in said.folders:
                entry = tarfile.TarInfo(folder.strip("/"))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                entry.uid, entry.gid = map(int, said.user.split(":"))
                tar.addfile(entry)

    if said.links or said.folders:
        yield _kept("beside", f"{said.user} {said.folders} {said.links}", make)


def _install(folder: Path, source: Path) -> None:
    """A wheel, or that of a source tree, and its programs."""
    _pip(folder, "--no-deps", "--no-compile", str(source))
    shutil.rmtree(folder / "bin")
    programs = folder.parent / "programs"
    programs.mkdir()
    (found,) = folder.glob("tfsdeploy-*.dist-info")
    for point in PathDistribution(found).entry_points.select(group="console_scripts"):
        lines = ("#!/usr/bin/python3 -P", "import sys", f"from {point.module} import {point.attr}")
        (programs / point.name).write_text("\n".join((*lines, f"sys.exit({point.attr}())", "")))
        (programs / point.name).chmod(0o755)


def _packages(install: Callable[[Path], None]) -> Callable[[Path], None]:
    """What writes a layer of Python packages, and programs where there are some."""

    def make(file: Path) -> None:
        with tempfile.TemporaryDirectory(dir=file.parent) as home:
            folder, programs = Path(home) / "packages", Path(home) / "programs"
            install(folder)
            # Not by time stamps, which are the same in every layer; and the root of a pod is read-only.
            compiling = ["-m", "compileall", "-qq", "--invalidation-mode=unchecked-hash", "-s", str(folder)]
            subprocess.run([sys.executable, *compiling, "-p", f"/{PACKAGES}", str(folder)], check=False)
            pack(file, {PACKAGES: folder} | ({PROGRAMS: programs} if programs.exists() else {}))

    return make


def _pip(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", f"--target={folder}", *words], check=True)


def _kept(name: str, key: str, make: Callable[[Path], None]) -> Layer:
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    folder = cache() / "layers"
    layer = kept_layer(folder / f"{name}-{digest}.tar", make)
    layer.file.touch()
    for old in sorted(folder.glob(f"{name}-????????????.tar"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
        for suffix in (".sha256", ".lock"):
            old.with_suffix(suffix).unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return layer

"""Images go into the nodes of a kind cluster by the real kind.

No registry with the images of kind's own nodes is reached from here: this machine's containerd runs in containers of
the engine, which kind takes for nodes by their labels.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.product import AGENT_IMAGE
from tests.docker.engine import Engine
from tests.docker.kind import kind

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

NODES = ("control-plane", "worker")
IMAGE = "registry.test/small:1"
PROGRAMS = ("containerd", "ctr")

DOCKER = """\
#!/bin/bash
[ "$1 $2" = "exec --privileged" ] && set -- exec "${{@:3}}"
exec {docker} "$@"
"""
"""Stands between kind and the engine: kind enters nodes with every capability, of which these machines lack some."""

FLEET = f"""\
apiVersion: tfsdeploy/v1
kind: Fleet
name: shop
store: pvc://models
agent: {{image: {IMAGE!r}}}
models: {{m: {{}}}}
"""
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: kind-tests, context: {cluster: c, user: u}}]
current-context: kind-tests
"""


@pytest.fixture
def nodes(engine: Engine, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The nodes of the cluster `tests`, as far as kind asks."""
    # All that mounting takes; `--privileged` would ask for more than these machines have.
    words = ["--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"]
    config = tmp_path / "config.toml"
    config.write_text("version = 2\n")
    programs = [f"--volume={config}:/etc/containerd/config.toml:ro"]
    programs += [f"--volume=/usr/bin/{name}:/usr/local/bin/{name}:ro" for name in PROGRAMS]
    # What is unpacked cannot lie on the container's own overlay.
    words += ["--detach", "--user=0", "--volume=/var/lib/containerd", *programs, "--entrypoint=containerd"]
    names = tuple(f"tests-{role}" for role in NODES)
    try:
        for name, role in zip(names, NODES, strict=True):
            labels = ("--label=io.x-k8s.kind.cluster=tests", f"--label=io.x-k8s.kind.role={role}")
            engine.docker("run", f"--name={name}", *labels, *words, AGENT_IMAGE)
            wait(engine, name)
        yield names
    finally:
        engine.docker("rm", "--force", "--volumes", *names)


@pytest.fixture
def small(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """An image of the engine that no node has."""
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nUSER 65532\n")
    engine.docker("build", "--quiet", f"--tag={IMAGE}", str(tmp_path / "image"))
    try:
        yield IMAGE
    finally:
        engine.docker("rmi", "--force", IMAGE)


def wait(engine: Engine, node: str) -> None:
    """Until a node's containerd answers."""
    end = time.monotonic() + 60
    while not engine.docker("exec", node, "ctr", "version", check=False):
        assert time.monotonic() < end, engine.docker("logs", node)
        time.sleep(0.1)


def images(engine: Engine, node: str) -> list[str]:
    """What a node has, as Kubernetes sees it."""
    return engine.docker("exec", node, "ctr", "-n", "k8s.io", "images", "ls", "-q").split()


def test_an_image_of_the_engine_is_given_to_every_node(
    engine: Engine, nodes: tuple[str, ...], small: str, tmp_path: Path
) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kind").symlink_to(kind())
    (programs / "docker").write_text(DOCKER.format(docker=shutil.which("docker")))
    (programs / "docker").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(tmp_path / "kubeconfig")}

    def load() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "tfsdeploy", "image", "load"]
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert [small in images(engine, node) for node in nodes] == [False, False]
    done = load()
    assert done.returncode == 0, done.stderr
    assert f"loaded {small} into kind cluster tests" in done.stdout + done.stderr
    assert [small in images(engine, node) for node in nodes] == [True, True]
    engine.docker("rm", "--force", "--volumes", *nodes)
    refused = load()
    assert refused.returncode == 1
    assert 'no nodes found for cluster "tests"' in refused.stderr

"""What the cluster is made of: Debian's packages, and binaries built from Go modules, cached outside the tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

GO = Path(__file__).parent / "go"
KUBERNETES_VERSION = "v1.34.4"

MODULES = ("pause", "kubernetes", "coredns")

SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "etcd": "etcd-server",
    "conntrack": "conntrack",
    "iptables": "iptables",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
    "curl": "curl",
    "sysctl": "procps",
}
"""Program -> the Debian package that has it."""

_STAMP = "-X k8s.io/component-base/version.git"
_LINKED = f"-s -w {_STAMP}Version={KUBERNETES_VERSION} {_STAMP}Major=1 {_STAMP}Minor={KUBERNETES_VERSION.split('.')[1]}"
"""What the linker is told; without a version every check of one would see v0.0.0."""

PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins lie."""


def cache() -> Path:
    """Where binaries and images are kept: ``$TFSDEPLOY_CLUSTER_CACHE``, or in the XDG cache folder."""
    if named := os.environ.get("TFSDEPLOY_CLUSTER_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "tfsdeploy-cluster"


def install_packages() -> None:
    """Debian's packages, where they are missing."""
    wanted = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not (PLUGINS / "bridge").exists():
        wanted.append("containernetworking-plugins")
    if not wanted:
        return
    # Nothing of them is to run by itself; the cluster starts its own.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", *wanted)):
        subprocess.run(["apt-get", *words], check=True, env=environment, stdout=subprocess.DEVNULL)


def binaries() -> Path:
    """The folder with the Kubernetes servers, CoreDNS and pause; built when their sources have changed."""
    folder = cache() / f"bin-{_digest()}"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        argv = ["go", "build", "-trimpath", "-ldflags", _LINKED, "-o", str(folder / module), "."]
        subprocess.run(argv, cwd=GO / module, check=True, env={**os.environ, "CGO_ENABLED": "0"})
    for server in SERVERS:
        (folder / server).unlink(missing_ok=True)
        (folder / server).symlink_to("kubernetes")
    (folder / "complete").touch()
    return folder


def program(module: str, package: str = ".", linked: str = "-s -w") -> Path:
    """A program that tests run beside the cluster; built when its sources have changed.

    Args:
        module: its folder under ``go/``, and its name.
        package: what of the module is built.
        linked: what the linker is told.
    """
    sources = sorted((GO / module).iterdir())
    digest = hashlib.sha256(linked.encode() + b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]
    built = cache() / f"{module}-{digest}"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        partial = built.with_suffix(f".{os.getpid()}")
        argv = ["go", "build", "-trimpath", "-ldflags", linked, "-o", str(partial), package]
        subprocess.run(argv, cwd=GO / module, check=True, env={**os.environ, "CGO_ENABLED": "0"})
        partial.rename(built)
    return built


def _digest() -> str:
    digest = hashlib.sha256(_LINKED.encode())
    for file in sorted(file for module in MODULES for file in (GO / module).rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(GO)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]

"""A real Helm, built from its Go module into the cache outside the tree: `python -m tests.chart.helm`."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.cluster.build import GO, KUBERNETES_VERSION, cache

MODULE = GO / "helm"
_OF = "-X helm.sh/helm/v3/pkg"
_MINOR = KUBERNETES_VERSION.split(".")[1]
_LINKED = "-s -w " + " ".join(
    f"{_OF}/{package}.k8sVersionMajor=1 {_OF}/{package}.k8sVersionMinor={_MINOR}"
    for package in ("chartutil", "lint/rules")
)
"""What the linker is told; without it Helm takes every cluster that it does not ask for Kubernetes 1.20."""

CHART = Path(__file__).parents[2] / "charts" / "tfsdeploy"


def helm() -> Path:
    """The program; built when its module file has changed."""
    sums = _LINKED.encode() + (MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()
    program = cache() / f"helm-{hashlib.sha256(sums).hexdigest()[:12]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(f".{os.getpid()}")
        argv = ["go", "build", "-trimpath", "-ldflags", _LINKED, "-o", str(partial), "helm.sh/helm/v3/cmd/helm"]
        subprocess.run(argv, cwd=MODULE, check=True, env={**os.environ, "CGO_ENABLED": "0"})
        partial.rename(program)
    return program


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """One call of it."""
    return subprocess.run([helm(), *words], check=False, capture_output=True, text=True)


if __name__ == "__main__":
    print(helm())

"""A real Helm, built from its Go module into the cache outside the tree: `python -m tests.chart.helm`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.build import KUBERNETES_VERSION, program

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
    return program("helm", "helm.sh/helm/v3/cmd/helm", _LINKED)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """One call of it."""
    return subprocess.run([helm(), *words], check=False, capture_output=True, text=True)


if __name__ == "__main__":
    print(helm())

"""A real kind, built from its Go module into the cache outside the tree."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.build import program


def kind() -> Path:
    """The program; built when its module file has changed."""
    return program("kind", "sigs.k8s.io/kind")

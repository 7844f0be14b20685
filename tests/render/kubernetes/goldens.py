"""The fleets of tests/golden/kubernetes/ and what they are rendered to: `make golden` writes it anew, for review."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2] / "golden" / "kubernetes"

NAMES = sorted(folder.name for folder in ROOT.iterdir())

LEVELS = {"nfs": "baseline", "folder": "privileged", "node-cache": "privileged"}
"""The Pod Security level of those that need less than `restricted`."""


def fleet_file(name: str) -> Path:
    return ROOT / name / "fleet.yaml"


def rendered(name: str) -> dict[str, str]:
    """Path -> text, as it is kept."""
    folder = ROOT / name / "rendered"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def objects(name: str) -> list[dict[str, Any]]:
    """The objects of one of them, as it is kept."""
    return [yaml.safe_load(text) for path, text in rendered(name).items() if path != "kustomization.yaml"]

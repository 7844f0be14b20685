"""The fleets of tests/golden/docker/ and what they are rendered to: `make golden` writes it anew, for review."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2] / "golden" / "docker"

NAMES = sorted(folder.name for folder in ROOT.iterdir())


def fleet_file(name: str) -> Path:
    return ROOT / name / "fleet.yaml"


def rendered(name: str) -> dict[str, str]:
    """Path -> text, as it is kept."""
    folder = ROOT / name / "rendered"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}

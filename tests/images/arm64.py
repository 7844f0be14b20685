"""Whether all that users install has wheels for ARM64, in the versions of constraints.txt: ``make check-arm64``."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib

from tests.cluster.product import ROOT, wheels_for


def needed() -> list[str]:
    """The dependencies of the product with every extra but that of its developers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    # An extra may have others in it, whose lines are here already.
    return [*project["dependencies"], *(line for line in extras if not re.match(r"tfsdeploy\b", line))]


def main() -> int:
    """Resolve them as pip would there, without installing anything.

    Returns:
        pip's exit code; it says itself what has no wheel.
    """
    with tempfile.TemporaryDirectory() as nowhere:
        words = ["install", "--quiet", "--dry-run", "--ignore-installed", f"--target={nowhere}"]
        constraints = f"--constraint={ROOT / 'constraints.txt'}"
        pip = [sys.executable, "-m", "pip", *words, *wheels_for("aarch64"), constraints, *needed()]
        code = subprocess.run(pip, check=False).returncode
    if not code:
        print("every dependency of the images and extras has a wheel for ARM64")
    return code


if __name__ == "__main__":
    sys.exit(main())

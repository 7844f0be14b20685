"""Documentation does not go stale quietly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import pages
from tfsdeploy import __version__
from tfsdeploy.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_generated_page_is_fresh(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run `make docs`"


def test_changelog_knows_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_readme_names_every_command_that_a_user_types() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [name for name in COMMANDS if name not in ("agent", "completion") and f"`{name}`" not in readme]


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())]
    missing = [
        f"{page.name}: {link}" for page, link in links if "://" not in link and not (page.parent / link).exists()
    ]
    assert not missing


def test_every_make_target_of_the_readme_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|    )make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named <= targets

"""Documentation does not go stale quietly."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


def test_every_error_that_the_documentation_explains_is_raised() -> None:
    """The first column of a table "it says": its words, apart from what stands for names, are somewhere in the code."""
    code = " ".join(path.read_text() for path in (ROOT / "tfsdeploy").rglob("*.py"))
    rows = [row for page in (ROOT / "docs").glob("*.md") for row in _explained(page.read_text())]
    words = [part.strip() for row in rows for part in re.split(r"…|;", row) if part.strip()]
    assert len(words) > 20
    assert not [part for part in words if part not in code]


def _explained(page: str) -> Iterator[str]:
    for table in re.findall(r"^\| (?:it says|message) \|.*\n\|---.*\n((?:\|.*\n)+)", page, re.M):
        yield from (row.split("|")[1] for row in table.splitlines())


def test_every_make_target_of_the_readme_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|    )make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named <= targets

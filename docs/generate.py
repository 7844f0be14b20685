"""Write the generated pages anew: `make docs`; tests/test_docs.py fails while they are stale."""

from __future__ import annotations

import json
from pathlib import Path

from docs import chart
from tfsdeploy.cli import reference
from tfsdeploy.fleet import grammar

DOCS = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Every generated file with its text."""
    return {
        DOCS / "commands.md": reference.page(),
        DOCS / "fleet-file.md": grammar.reference(),
        DOCS / "schemas" / "fleet.json": json.dumps(grammar.schema(), indent=2, ensure_ascii=False) + "\n",
        **chart.files(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)

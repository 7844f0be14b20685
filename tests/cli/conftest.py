"""The real command in a folder of its own, with its documents checked against the published schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tfsdeploy.cli.main import main

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self, schema: str) -> dict[str, Any]:
        """The one document on stdout, valid against its schema."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        jsonschema.validate(found, json.loads((SCHEMAS / f"{schema}.json").read_text()))
        return found


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in ``tmp_path``, with a state home below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFSDEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFSDEPLOY_DEBUG", raising=False)

    def ran(*words: str) -> Ran:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return ran

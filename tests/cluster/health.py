"""What Flux and Argo CD make of a fleet's objects, by the code of both: `go/health`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.build import program


@dataclass(frozen=True, slots=True)
class Verdict:
    """What both say of one object.

    Attributes:
        flux: kstatus, by the readers of Flux's controllers.
        argo: by the checks that are built into Argo CD; empty where it has none, so that the object counts for nothing.
    """

    flux: str
    argo: str


GOOD = (Verdict("Current", "Healthy"), Verdict("Current", ""))
ON_THE_WAY = Verdict("InProgress", "Progressing")
BAD = Verdict("Failed", "Degraded")


def health() -> Path:
    """The program; built when its sources have changed."""
    return program("health")


def judged(objects: Mapping[str, Any]) -> dict[str, Verdict]:
    """Kind and name -> what both say, of the objects of a List."""
    done = subprocess.run([health()], input=json.dumps(objects), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: Verdict(said["flux"], said["argo"]) for name, said in json.loads(done.stdout).items()}

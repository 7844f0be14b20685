"""Docker Compose, built from its Go module the first time: no package of this system has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.cluster.build import cache

MODULE, VERSION = "github.com/docker/compose/v2", "v2.40.3"


def compose() -> Path:
    """The program; without Go there is none."""
    program = cache().with_name("tfsdeploy-docker") / f"docker-compose-{VERSION}"
    if program.exists():
        return program
    assert shutil.which("go"), "Docker Compose is built from source, which needs `go` on the PATH"
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "CGO_ENABLED": "0"}
        (Path(home) / "go.mod").write_text("module build\n")
        argv = ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"]
        said = subprocess.run(argv, cwd=home, check=True, capture_output=True, env=environment)
        source = Path(home) / "source"
        # As a main module of its own: what it excludes counts only there.
        shutil.copytree(json.loads(said.stdout)["Dir"], source)
        subprocess.run(["chmod", "-R", "u+w", str(source)], check=True)
        program.parent.mkdir(parents=True, exist_ok=True)
        built = program.with_suffix(".draft")
        words = ["-trimpath", "-ldflags", f"-s -w -X {MODULE}/internal.Version={VERSION}", "-o", str(built), "./cmd"]
        subprocess.run(["nice", "go", "build", *words], cwd=source, check=True, env=environment)
        built.replace(program)
    return program

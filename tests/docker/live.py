"""A fleet on the engine, driven by the real command, and hands to break its containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.live import Asked
from tests.cluster.product import ROOT, SERVER_IMAGE
from tests.docker.balancer import balancer
from tests.docker.engine import ADDRESS, Engine
from tests.scenarios.live import Run, eventually, gateways_of
from tfsdeploy.store.example import write_example
from tfsdeploy.store.store import FileStore

RATE = 40.0


@dataclass
class DockerFleet:
    """One fleet on the engine; version N of a model answers N.

    Attributes:
        folder: holds the fleet file and the store that the containers mount.
        engine: where it lives.
        spec: the fleet file's content.
    """

    folder: Path
    engine: Engine
    name: str = "shop"
    spec: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.chmod(0o755)
        self.spec = {
            "apiVersion": "tfsdeploy/v1",
            "kind": "Fleet",
            "name": self.name,
            "target": "docker",
            "store": "file://./models",
            "serving": {"replicas": 2, "minAvailable": 1, "image": SERVER_IMAGE, "drainSeconds": 1},
            "gateway": {"replicas": 2, "address": ADDRESS},
            "models": {},
        }

    def push(self, model: str, version: int) -> None:
        """Publish a version."""
        source = self.folder / f"source-{version}"
        write_example(source, offset=version - 0.5)
        FileStore(self.folder / "models").publish(model, source, version)

    def push_to_store(self, model: str, version: int) -> None:
        """Publish a version by the command, into whatever store the fleet file names."""
        source = self.folder / f"source-{version}"
        write_example(source, offset=version - 0.5)
        self.run("push", model, str(source), "--version", str(version))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and go on."""
        self.folder.joinpath("fleet.yaml").write_text(yaml.safe_dump(self.spec, sort_keys=False))
        argv, pipe = [sys.executable, "-m", "tfsdeploy", *words], subprocess.PIPE
        environment = {**os.environ, "NO_COLOR": "1"}
        return subprocess.Popen(argv, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, code: int | None = 0) -> Run:
        """Run a command to its end; ``code`` is the exit code it must have (None: any)."""
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert code is None or process.returncode == code, (
            f"{words} ended with {process.returncode}\n{out}\n{err}\n{self.engine.docker('ps', '-a')}"
        )
        return Run(process.returncode, out, err)

    def up(self, *words: str, code: int | None = 0) -> Run:
        """Make the fleet as the file says."""
        return self.run("up", "--timeout", "120", *words, code=code)

    def status(self) -> dict[str, Any]:
        """What `status -o json` says, healthy or not."""
        return self.run("status", "-o", "json", code=None).document

    def healthy(self) -> None:
        """Wait until the fleet says that all is well."""
        eventually(lambda: self.status()["healthy"], "a healthy fleet", 180)

    def effective(self, model: str, traffic: dict[int, int]) -> bool:
        """Whether every gateway serves this split."""
        wanted = {str(version): share for version, share in traffic.items()}
        gateways = gateways_of(self.status)
        return bool(gateways) and all(g["models"].get(model, {}).get("traffic") == wanted for g in gateways)

    def containers(self, *filters: str) -> list[str]:
        """The names of the fleet's containers, those that do not run too."""
        labels = [f"--filter=label=tfsdeploy.{one}" for one in (f"fleet={self.name}", *filters)]
        return sorted(self.engine.docker("ps", "-a", "--format={{.Names}}", *labels).split())

    def kill(self, container: str) -> None:
        """SIGKILL a container's process from outside, as a loss would: the engine starts it again."""
        pid = self.engine.docker("inspect", "--format={{.State.Pid}}", container).strip()
        self.engine.machine.run("kill", "-KILL", pid)

    def restarts(self, container: str) -> int:
        """How often the engine has started a container again."""
        return int(self.engine.docker("inspect", "--format={{.RestartCount}}", container))

    @contextmanager
    def stream(self, models: dict[str, set[int]], rate: float = RATE, *, retry_on: str = "") -> Iterator[Asked]:
        """Requests, from entering to leaving: REST straight at the first gateway, gRPC straight at the second.

        Args:
            models: which versions may answer, until `Asked.now` says otherwise.
            rate: requests a second.
            retry_on: through a load balancer over both instead, which tries again what `tests.docker.balancer` says.
        """
        straight = nullcontext((f"http://{ADDRESS}:8501", f"{ADDRESS}:8510"))
        way = balancer(self.folder, (8501, 8511), (8500, 8510), retry_on) if retry_on else straight
        with way as (rest, grpc), requests_to(rest, grpc, models, rate) as asked:
            yield asked


@contextmanager
def requests_to(rest: str, grpc: str, models: dict[str, set[int]], rate: float = RATE) -> Iterator[Asked]:
    """Requests, REST and gRPC, to one place, from entering to leaving; ``models``: the versions that may answer."""
    argv = [sys.executable, "-m", "tests.cluster.load", rest, grpc, str(rate)]
    pipe = subprocess.PIPE
    asked = Asked(subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT))
    asked.tell(models)
    asked.now(models)
    try:
        yield asked
    finally:
        out, _ = asked.process.communicate()
        asked.tally = json.loads(out.splitlines()[-1])

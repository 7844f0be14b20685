"""A fleet on the cluster, driven by the real command, and the stream of requests that runs through its scenarios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.namespace import Namespace
from tests.cluster.product import AGENT_IMAGE, SERVER_IMAGE
from tests.scenarios.live import Run, gateways_of
from tfsdeploy.store.example import write_example
from tfsdeploy.store.store import FileStore

RATE = 40.0

M = "m"
"""The model of the scenarios."""


@dataclass
class ClusterFleet:
    """One fleet in one namespace; version N of a model answers N.

    Attributes:
        folder: holds the fleet file and the store that the pods mount.
        namespace: where it lives.
        spec: the fleet file's content.
        kubeconfig: of who drives it; None: the administrator.
    """

    folder: Path
    namespace: Namespace
    spec: dict[str, Any] = field(default_factory=dict)
    kubeconfig: Path | None = None

    def __post_init__(self) -> None:
        self.spec = {
            "apiVersion": "tfsdeploy/v1",
            "kind": "Fleet",
            "name": "shop",
            "target": "kubernetes",
            "namespace": self.namespace.name,
            "store": "pvc://models",
            "serving": {"replicas": 2, "minAvailable": 1, "image": SERVER_IMAGE, "drainSeconds": 1},
            "gateway": {"replicas": 2},
            "agent": {"image": AGENT_IMAGE},
            "models": {},
        }

    def push(self, model: str, version: int, write: Callable[[Path], None] | None = None) -> None:
        """Publish a version, as whoever mounts the volume does.

        Args:
            model: its name.
            version: its number.
            write: makes the SavedModel; None: one that answers the version.
        """
        source = self.folder / f"source-{version}"
        if write is None:
            write_example(source, offset=version - 0.5)
        else:
            write(source)
        FileStore(self.folder / "models").publish(model, source, version)

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen[str]:
        """Start a command and go on; what it prints goes into ``log``, for one that prints more than a pipe holds."""
        self.folder.joinpath("fleet.yaml").write_text(yaml.safe_dump(self.spec, sort_keys=False))
        kubeconfig = self.kubeconfig or self.namespace.cluster.kubeconfig
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "NO_COLOR": "1"}
        argv = [sys.executable, "-m", "tfsdeploy", *words]
        pipe = subprocess.PIPE
        with nullcontext(pipe) if log is None else log.open("w") as out:
            return subprocess.Popen(argv, cwd=self.folder, env=environment, stdout=out, stderr=pipe, text=True)

    def run(self, *words: str, code: int | None = 0) -> Run:
        """Run a command to its end; ``code`` is the exit code it must have (None: any)."""
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        said = f"{words} ended with {process.returncode}\n{out}\n{err}"
        assert code is None or process.returncode == code, f"{said}\n{self.namespace.told()}"
        return Run(process.returncode, out, err)

    def shell(self, command: str) -> None:
        """Run a line that an error or a page names, as a user would paste it."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "KUBECONFIG": str(self.namespace.cluster.kubeconfig), "PATH": path}
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def up(self, code: int | None = 0) -> Run:
        """Make the fleet as the file says."""
        return self.run("up", "--timeout", "180", code=code)

    def status(self) -> dict[str, Any]:
        """What `status -o json` says, healthy or not."""
        return self.run("status", "-o", "json", code=None).document

    def healthy(self) -> None:
        """Wait until the fleet says that all is well."""
        self.namespace.wait("a healthy fleet", lambda: self.status()["healthy"], 240)

    def address(self) -> str:
        """The gateways' Service, as nodes and pods reach it."""
        (service,) = self.namespace.get("services", "--field-selector", "metadata.name=shop-gateway")
        return str(service["spec"]["clusterIP"])

    def answers(self) -> None:
        """Wait until a node is answered at the Service: it hears in its own time which pods are ready."""
        url = f"http://{self.address()}:8501/v1/models/{M}:predict"
        self.namespace.wait("an answer", lambda: self.namespace.ask(url, {"instances": [1.0]})[0] == 200)

    def effective(self, model: str, traffic: dict[int, int]) -> bool:
        """Whether every gateway serves this split."""
        wanted = {str(version): share for version, share in traffic.items()}
        gateways = gateways_of(self.status)
        return bool(gateways) and all(g["models"].get(model, {}).get("traffic") == wanted for g in gateways)

    def pods(self, component: str) -> list[str]:
        """The names of a component's pods that are not leaving."""
        return [pod["metadata"]["name"] for pod in self.pod_objects(component)]

    def pod_objects(self, component: str) -> list[dict[str, Any]]:
        """A component's pods that are not leaving."""
        found = self.namespace.get("pods", "-l", f"app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def spread(self, component: str) -> None:
        """Have a component's two pods on two nodes: the scheduler only prefers that."""
        cluster = self.namespace.cluster
        on = {pod["spec"]["nodeName"] for pod in self.pod_objects(component)}
        if len(on) > 1:
            return
        (crowded,) = on
        cluster.kubectl("cordon", crowded)
        try:
            self.namespace.kubectl("delete", "pod", self.pods(component)[0])
            self.healthy()
        finally:
            cluster.kubectl("uncordon", crowded)

    def hears_silence(self, address: str) -> bool:
        """Whether the gateway at this address hears nothing from some replica."""
        code, page = self.namespace.ask(f"http://{address}:8502/metrics")
        return code == 200 and "tfsdeploy_gateway_silent 0.0" not in page

    @contextmanager
    def stream(self, models: dict[str, set[int]], rate: float = RATE, *, address: str | None = None) -> Iterator[Asked]:
        """Requests, REST and gRPC, from the first node to the gateway's Service, from entering to leaving.

        Args:
            models: which versions may answer, until `Asked.now` says otherwise.
            rate: requests a second.
            address: of one gateway; None: the Service's.
        """
        address = address or self.address()
        words = (f"http://{address}:8501", f"{address}:8500", str(rate))
        inside = ["nsenter", f"--target={self.namespace.cluster.machine(1).first.pid}", "--net", "--"]
        argv = [*inside, sys.executable, "-m", "tests.cluster.load", *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[2])
        asked = Asked(process)
        asked.tell(models)
        asked.now(models)
        try:
            yield asked
        finally:
            out, _ = process.communicate()
            asked.tally = json.loads(out.splitlines()[-1])


@dataclass
class Asked:
    """A stream that runs, and then what became of its requests."""

    process: subprocess.Popen[str]
    tally: dict[str, Any] = field(default_factory=dict)

    def tell(self, allowed: dict[str, set[int]]) -> None:
        """Write one line to the stream."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({model: sorted(versions) for model, versions in allowed.items()}) + "\n")
        self.process.stdin.flush()

    def now(self, allowed: dict[str, set[int]]) -> None:
        """From this moment on, requests are sent that only these versions may answer."""
        self.tell(allowed)
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the stream has ended"

    def check(self, *, lost_in_a_gateway: bool = False, lost_at_a_replica: bool = False) -> None:
        """Every request that was due was sent and answered rightly.

        Args:
            lost_in_a_gateway: a gateway was killed outright, so connections to it may have broken.
            lost_at_a_replica: a replica fell silent, so what was in flight there may not have been answered in time.
        """
        assert self.tally["complete"], self.tally
        allowed = [
            *(("connection", "UNAVAILABLE") if lost_in_a_gateway else ()),
            *(("no answer", "HTTP 504", "DEADLINE_EXCEEDED") if lost_at_a_replica else ()),
        ]
        kinds = [kind for kind in self.tally["kinds"] if not any(word in kind for word in allowed)]
        assert not kinds, self.tally

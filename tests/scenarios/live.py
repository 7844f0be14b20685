"""A fleet that really runs, driven by the real command, and hands to break its parts."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

FULL_DISK = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")
"""Starts a command that cannot write a byte to a file."""

LIMIT = 120.0
"""Seconds that any state may take to come about on a busy machine."""


ASKED = 3
"""How often a gateway that does not answer in time is asked."""


def gateways_of(status: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """What every gateway says; on a busy machine one may have to be asked again.

    Args:
        status: runs `status -o json`.
    """
    gateways: list[dict[str, Any]] = []
    for _ in range(ASKED):
        gateways = status()["gateways"]
        if gateways and all(gateway["models"] for gateway in gateways):
            break
    return gateways


def eventually(check: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Wait until ``check`` gives something true; its last answer is in the failure's words."""
    end = time.monotonic() + limit
    answer = check()
    while not answer:
        assert time.monotonic() < end, f"not in {limit:.0f} s: {what} (last: {answer!r})"
        time.sleep(0.05)
        answer = check()
    return answer


def _program(process: psutil.Process) -> str:
    """What a process runs; empty for one that is just being started, or has just ended."""
    try:
        return next(iter(process.cmdline()), "")
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@dataclass(frozen=True)
class Run:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class LiveFleet:
    """One fleet under a folder of its own.

    Attributes:
        folder: holds the fleet file and the store.
        home: the state home that its commands use.
        mode: which model server: ``embedded`` or ``like-tfs``.
        samples: ready-made SavedModels to push, by what they are.
        spec: the fleet file's content; `write` puts it on disk.
    """

    folder: Path
    home: Path
    mode: str
    samples: Path
    name: str = "shop"
    spec: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        server = {"embedded": "embedded", "like-tfs": "embedded-like-tfs"}[self.mode]
        self.spec = self.spec or {
            "apiVersion": "tfsdeploy/v1",
            "kind": "Fleet",
            "name": self.name,
            "store": (self.folder / "models").as_uri(),
            "serving": {"replicas": 3, "minAvailable": 2, "server": server},
            "gateway": {"replicas": 2, "rest": 0, "grpc": 0},
            "models": {"warm": {}},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "models").mkdir(exist_ok=True)
        self.write()

    @property
    def file(self) -> Path:
        """The fleet file."""
        return self.folder / "fleet.yaml"

    @property
    def state(self) -> Path:
        """The fleet's state folder."""
        return self.home / "fleets" / self.name

    def write(self) -> None:
        """Put the specification on disk."""
        self.file.write_text(yaml.safe_dump(self.spec, sort_keys=False))

    def environment(self) -> dict[str, str]:
        """The environment of every command of this fleet."""
        return {**os.environ, "TFSDEPLOY_HOME": str(self.home), "NO_COLOR": "1"}

    def start(self, *words: str, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start a command and go on; ``under`` is what starts it, such as a shell with limits."""
        argv = [*under, sys.executable, "-m", "tfsdeploy", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=self.folder, env=self.environment(), stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, code: int | None = 0, limit: float = 180, under: tuple[str, ...] = ()) -> Run:
        """Run a command to its end; ``code`` is the exit code it must have (None: any)."""
        process = self.start(*words, under=under)
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{words} did not end in {limit} s\n{out}\n{err}") from None
        assert code is None or process.returncode == code, f"{words} ended with {process.returncode}\n{out}\n{err}"
        return Run(process.returncode, out, err)

    def up(self, *words: str, code: int | None = 0) -> Run:
        """Make the fleet as the file says."""
        self.write()
        return self.run("up", "--timeout", "150", *words, code=code)

    def push(self, model: str, version: int, sample: str | None = None) -> Run:
        """Publish a version; by default one that answers its own number."""
        return self.run("push", model, str(self.samples / (sample or f"constant-{version}")), "--version", str(version))

    def serve(self, model: str, *versions: int, pin: dict[str, Any] | None = None) -> None:
        """Push versions and make the model part of the fleet, serving the first of them."""
        self.spec["models"][model] = pin or {}
        self.write()
        self.push(model, versions[0])
        self.up()
        for version in versions[1:]:
            self.push(model, version)

    def promote(self, model: str, version: int, *words: str, code: int | None = 0) -> Run:
        """Promote and wait for the end."""
        return self.run("promote", model, str(version), "-o", "json", *words, code=code)

    def rollback(self, model: str, *words: str, code: int | None = 0) -> Run:
        """Roll back and wait for the end."""
        return self.run("rollback", model, "-o", "json", *words, code=code)

    def status(self) -> dict[str, Any]:
        """What `status -o json` says, healthy or not."""
        return self.run("status", "-o", "json", code=None).document

    def release(self) -> dict[str, Any]:
        """The release document."""
        document: dict[str, Any] = json.loads((self.state / "release.json").read_text())
        return document

    def model(self, name: str) -> dict[str, Any]:
        """One model of the release document."""
        found: dict[str, Any] = self.release()["models"][name]
        return found

    def state_of(self, model: str, version: int) -> dict[str, str]:
        """Replica -> state of one version."""
        rows = {row["name"]: row["models"].get(model, {}).get(str(version)) for row in self.status()["replicas"]}
        return {name: row["state"] for name, row in rows.items() if row}

    def effective(self, model: str, traffic: dict[int, int]) -> bool:
        """Whether every gateway serves this split."""
        wanted = {str(version): share for version, share in traffic.items()}
        gateways = gateways_of(self.status)
        return bool(gateways) and all(g["models"].get(model, {}).get("traffic") == wanted for g in gateways)

    def healthy(self) -> None:
        """Wait until the fleet says that all is well."""
        eventually(lambda: self.status()["healthy"], "a healthy fleet")

    @property
    def rest(self) -> str:
        """The gateway's REST address."""
        return str(self.status()["gateways"][0]["rest"])

    @property
    def grpc(self) -> str:
        """The gateway's gRPC address."""
        return str(self.status()["gateways"][0]["grpc"])

    def processes(self, *words: str) -> list[psutil.Process]:
        """The fleet's processes whose command line (and folder) has all the words, oldest first."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join([*process.cmdline(), process.cwd()])
                if str(self.home) in line and all(word in line for word in words) and process.pid != os.getpid():
                    found.append((process.create_time(), process.pid, process))
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return [process for _, _, process in sorted(found, key=lambda item: item[:2])]

    def servers(self) -> list[psutil.Process]:
        """The model servers."""
        return self.processes("tfsdeploy.server")

    def replica_agents(self) -> list[psutil.Process]:
        """The replica agents."""
        return self.processes("agent replica")

    def gateway_agents(self) -> list[psutil.Process]:
        """The gateway agents."""
        return self.processes("agent gateway")

    def envoys(self) -> list[psutil.Process]:
        """The Envoys."""
        return [p for p in self.processes("/gateways/") if "envoy" in Path(_program(p)).name]

    def supervisors(self) -> list[psutil.Process]:
        """The supervisor."""
        return self.processes("local.supervisor")

    def kill(self, process: psutil.Process) -> None:
        """SIGKILL one part and wait until it is gone."""
        process.kill()
        psutil.wait_procs([process], timeout=LIMIT)

    @contextmanager
    def hung(self, *processes: psutil.Process) -> Iterator[None]:
        """Processes that neither answer nor end while the block runs."""
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                if process.is_running():
                    process.send_signal(signal.SIGCONT)

    @contextmanager
    def full_disk(self, *processes: psutil.Process) -> Iterator[None]:
        """Let processes write no byte to a file while the block runs: EFBIG stands for ENOSPC, and needs no root."""
        for process in processes:
            process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            for process in processes:
                if process.is_running():
                    process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def ports(self) -> set[int]:
        """Every port on which a process of the fleet listens."""
        listening = (row for process in self.processes() for row in process.net_connections("tcp"))
        return {row.laddr.port for row in listening if row.status == psutil.CONN_LISTEN}

    def down(self) -> None:
        """Remove the fleet and prove that nothing is left but the store."""
        ports = self.ports()
        self.run("down", "--fleet", self.name, "--yes")
        for port in ports:
            # A listener of its own proves that nobody else listens, even through a file descriptor that went astray.
            socket.create_server(("127.0.0.1", port)).close()
        assert not self.processes(), [p.cmdline() for p in self.processes()]
        assert not self.state.exists(), sorted(self.state.rglob("*"))

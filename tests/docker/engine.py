"""A real Docker engine for tests, in a network of its own: nothing of it touches this machine's."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

import psutil

from tests.cluster.build import cache
from tests.cluster.images import Image, write_archive
from tests.cluster.machine import Machine
from tests.cluster.product import images
from tfsdeploy.processes import Identity

PACKAGES = {"dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2", "mmdebstrap": "mmdebstrap"}
"""Program -> the Debian package that has it."""

ADDRESS = "10.213.0.1"
"""The machine's own address, as a host has one: what is published there does not pass through a process of dockerd."""

CGROUPS = Path("/sys/fs/cgroup")
CGROUP = "tfsdeploy-docker"
CLONE_NEWNET = 0x40000000
READY_SECONDS = 120.0


class Engine:
    """The engine; making the object touches nothing."""

    def __init__(self) -> None:
        self.folder = cache().with_name("tfsdeploy-docker")
        self.socket = self.folder / "docker.sock"
        self.host = f"unix://{self.socket}"

    @property
    def machine(self) -> Machine:
        """Where it runs."""
        return Machine("docker", Identity(**json.loads((self.folder / "machine.json").read_text())))

    def is_up(self) -> bool:
        """Whether it answers."""
        return (self.folder / "machine.json").exists() and self.machine.is_up() and self._answers()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.is_up():
            return
        self.stop()
        install_packages()
        self.folder.mkdir(parents=True, exist_ok=True)
        machine = Machine.start("docker")
        (self.folder / "machine.json").write_text(json.dumps(asdict(machine.first)))
        machine.run("ip", "link", "add", "lan", "type", "bridge")
        machine.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "lan")
        machine.run("ip", "link", "set", "lan", "up")
        machine.run("ip", "route", "replace", "default", "dev", "lan")
        self.start_daemon()

    def start_daemon(self, *more: str, live_restore: bool = True) -> None:
        """Start dockerd and wait until it answers.

        Args:
            more: flags beside ours.
            live_restore: containers run on while it is away.
        """
        self.machine.spawn(
            "dockerd",
            f"--host={self.host}",
            f"--data-root={self.folder}/data",
            "--exec-root=/run/docker",
            "--pidfile=/run/docker.pid",
            f"--cgroup-parent=/{CGROUP}",
            *(["--live-restore"] if live_restore else []),
            "--oom-score-adjust=0",
            *more,
            log=self.folder / "dockerd.log",
        )
        self._wait("dockerd", self._answers)

    def kill_daemon(self) -> None:
        """End dockerd and its containerd at once; with live-restore the containers run on."""
        self._end_daemon(psutil.Process.kill)

    def end_daemon(self) -> None:
        """End dockerd as the system does; without live-restore it ends the containers first."""
        self._end_daemon(psutil.Process.terminate)

    def _end_daemon(self, end: Callable[[psutil.Process], None]) -> None:
        inside = os.readlink(f"/proc/{self.machine.first.pid}/ns/pid")
        found = [
            process
            for process in psutil.process_iter(["name"])
            if process.info["name"] in ("dockerd", "containerd")
            and os.readlink(f"/proc/{process.pid}/ns/pid") == inside
        ]
        for process in found:
            # Each of them ends when the other one is gone.
            with suppress(psutil.NoSuchProcess):
                end(process)
        self._wait("the end of dockerd", lambda: not any(process.is_running() for process in found))

    def load_images(self, say: Callable[[str], None]) -> None:
        """Make the product's images where their sources have changed, and load those that the engine lacks."""
        for image in images():
            if self._identity(image.name) != f"sha256:{image.identity}":
                say(f"loading {image.name}")
                self._load(image)

    def stop(self) -> None:
        """End every process and remove everything but the images."""
        if (self.folder / "machine.json").exists():
            if self._answers() and (left := self.docker("ps", "-aq").split()):
                # Their records too: nothing may start again with the next engine.
                self.docker("rm", "-f", "-v", *left)
            machine = self.machine
            machine.stop()
            self._wait("the end of every process", lambda: not machine.is_up())
        for name in ("machine.json", "docker.sock", "dockerd.log"):
            (self.folder / name).unlink(missing_ok=True)
        for controller in CGROUPS.iterdir() if CGROUPS.is_dir() else ():
            for base, _, _ in os.walk(controller / CGROUP, topdown=False):
                os.rmdir(base)

    def docker(self, *words: str, check: bool = True) -> str:
        """What the docker command prints."""
        argv = ["docker", f"--host={self.host}", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and every process and thread that it starts meanwhile, is in the engine's network."""
        own, there = (os.open(f"/proc/{pid}/ns/net", os.O_RDONLY) for pid in ("self", self.machine.first.pid))
        try:
            _set_network(there)
            yield
        finally:
            _set_network(own)
            os.close(own)
            os.close(there)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        argv = ["docker", f"--host={self.host}", "version"]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def _identity(self, name: str) -> str:
        return self.docker("image", "inspect", "--format={{.Id}}", name, check=False).strip()

    def _load(self, image: Image) -> None:
        def write(stream: IO[bytes]) -> None:
            write_archive(stream, image)

        self.machine.feed("docker", f"--host={self.host}", "load", "--quiet", write=write)

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        end = time.monotonic() + READY_SECONDS
        while not done():
            assert time.monotonic() < end, f"not in {READY_SECONDS:g} s: {what}; see {self.folder / 'dockerd.log'}"
            time.sleep(0.05)


def install_packages() -> None:
    """Debian's packages, where they are missing; none of them is to run by itself."""
    wanted = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not wanted:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", *wanted)):
        subprocess.run(["apt-get", *words], check=True, env=environment, stdout=subprocess.DEVNULL)


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")

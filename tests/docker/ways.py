"""Ways to an engine on another machine: certificates for its TLS, and a real sshd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docker.engine import Engine
from tests.ports import free_ports

SSHD = Path("/usr/sbin/sshd")
LIMIT = 60.0


def make_certificates(folder: Path) -> None:
    """An authority, a server at 127.0.0.1 and a client, as `docker` expects them to be named."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-noenc")
    openssl("req", "-x509", *new, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    for name, key, extra in (
        ("server", "server-key", "subjectAltName=IP:127.0.0.1"),
        ("cert", "key", "extendedKeyUsage=clientAuth"),
    ):
        openssl("req", *new, "-keyout", f"{key}.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extra").write_text(extra)
        signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2", "-extfile", "extra")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)


class Sshd:
    """A server that runs while it is entered, and lets one key in.

    Args:
        folder: for its files.
        engine: what `docker` asks there.

    Attributes:
        port: where it listens, at 127.0.0.1.
        programs: a folder with an `ssh` that has the key and knows the server's.
    """

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder = folder
        self._engine = engine
        self.programs = folder / "bin"
        (self.port,) = free_ports(1)

    def __enter__(self) -> Self:
        install()
        self.programs.mkdir(parents=True)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._folder / name], check=True)
        (self._folder / "known").write_text(f"[127.0.0.1]:{self.port} {(self._folder / 'host.pub').read_text()}")
        (self._folder / "client").write_text(
            f"IdentityFile {self._folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {self._folder}/known\n"
        )
        docker = Path(shutil.which("docker") or "docker").parent
        (self._folder / "server").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self._folder}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {self._folder}/user.pub\nPermitRootLogin prohibit-password\n"
            f"SetEnv DOCKER_HOST={self._engine.host} PATH={docker}:/usr/bin:/bin\n"
        )
        program = self.programs / "ssh"
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self._folder}/client "$@"\n')
        program.chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self._folder / "log").open("wb") as log:
            argv = [SSHD, "-D", "-e", "-f", self._folder / "server"]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + LIMIT
        while not _listens(self.port):
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, (self._folder / "log").read_text()
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(LIMIT)


def install() -> None:
    """Debian's server, where it is missing; it is not to run by itself."""
    if not SSHD.exists():
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "openssh-server"]
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

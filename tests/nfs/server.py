"""A real NFS server on loopback: NFS-Ganesha, which runs in user space and needs nothing else of the machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.build import cache
from tests.fuse import detach
from tests.gateway.harness import free_ports, wait

PACKAGES = ("nfs-ganesha-vfs",)
EXPORT = "/models"
LIMIT = 60.0
ROOT = Path(__file__).resolve().parents[2]

# Graceless: who locked what before a restart is forgotten, and nobody waits for it. The rest: what tests change behind
# the server is seen at once, and it asks nobody on this machine who users are.
_CONFIGURATION = """
NFS_CORE_PARAM {{
  NFS_Port = {port}; Bind_addr = 127.0.0.1; Protocols = 4; mount_path_pseudo = true;
  Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
  Plugins_Dir = {plugins};
}}
NFSv4 {{
  Minor_Versions = 0; Lease_Lifetime = 20; Graceless = true; RecoveryRoot = "{folder}";
  Only_Numeric_Owners = true; UseGetpwnam = true; Delegations = false;
}}
NFS_KRB5 {{ Active_krb5 = false; }}
MDCACHE {{ Dir_Chunk = 0; }}
EXPORT {{
  Export_Id = 1; Path = {behind}; Pseudo = {export}; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  Protocols = 4; Transports = TCP; Attr_Expiration_Time = 0; FSAL {{ Name = VFS; }}
}}
"""


def programs() -> Path:
    """The folder with Debian's server and all that it needs beside this machine; nothing of it is installed."""
    folder = cache().with_name("tfsdeploy-nfs") / "-".join(PACKAGES)
    if not folder.exists():
        archives, partial = folder.with_name("archives"), folder.with_name("partial")
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        told = ("-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root")
        for words in (
            ["update", "-qq"],
            ["install", "-y", "-qq", "--download-only", "--no-install-recommends", *told, *PACKAGES],
        ):
            subprocess.run(["apt-get", *words], check=True, stdout=subprocess.DEVNULL)
        for archive in archives.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, partial], check=True)
        shutil.rmtree(archives)
        partial.rename(folder)
    return folder


class NfsServer:
    """The server of one folder; making the object touches nothing.

    Args:
        folder: its own.

    Attributes:
        behind: what it exports.
    """

    def __init__(self, folder: Path) -> None:
        self.behind = folder / "export"
        (self.port,) = free_ports(1)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.behind.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "ganesha.conf"
        root = programs()
        plugins = next(root.glob("usr/lib/**/libfsalvfs.so")).parent
        libraries = f"{root}/usr/lib/ganesha:{plugins.parent}"
        words = {"plugins": plugins, "port": self.port, "folder": self._folder, "behind": self.behind, "export": EXPORT}
        configuration.write_text(_CONFIGURATION.format(**words))
        log, pid = self._folder / "ganesha.log", self._folder / "ganesha.pid"
        argv = [root / "usr/bin/ganesha.nfsd", "-F", "-f", configuration, "-L", log, "-p", pid]
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
        self._process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait("the NFS server", self._listens, LIMIT)

    def end(self) -> None:
        """End it at once: who mounts it has no answer until it is started again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it answer nobody: who mounts it hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def replace_export(self) -> None:
        """Put a copy in the place of what it exports: the same files, and every handle of a client is stale."""
        copy = self._folder / "copy"
        shutil.copytree(self.behind, copy, symlinks=True)
        shutil.rmtree(self.behind)
        copy.rename(self.behind)
        self.end()
        self.start()

    @contextmanager
    def mounted(self, at: Path, soft: float | None = None) -> Iterator[Path]:
        """Its folder, mounted by a client of its own for the time of the block.

        Args:
            at: where.
            soft: seconds after which what is not answered fails, at once where nobody listens (as with the mount option
                ``soft``); None: never.
        """
        at.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "tests.nfs.mount", str(self.port), EXPORT, str(at), str(soft or "")]
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "mounted\n"
            yield at
        finally:
            process.kill()
            process.communicate()
            detach(at)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def nfs_server(folder: Path) -> Iterator[NfsServer]:
    """A server for the time of the block."""
    server = NfsServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.end()

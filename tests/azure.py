"""Azurite, the emulator of Azure Blob Storage, on loopback: no Azure, but its protocol, conditions and signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path

from tests.ports import free_ports
from tfsdeploy.store.bucket import Bucket, open_bucket

PACKAGE = Path(__file__).parent / "azurite"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Account and key that every emulator has, by its documentation."""

LIMIT = 120.0


def works() -> bool:
    """Whether this machine can run it."""
    return shutil.which("node") is not None and shutil.which("npm") is not None


def program() -> Path:
    """Its main module; installed into the cache folder outside the tree when the lock file has changed."""
    files = [path for path in sorted(PACKAGE.rglob("*")) if path.is_file()]
    told = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "tfsdeploy-tests"
    folder = home / f"azurite-{told}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.copytree(PACKAGE, partial)
        words = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(words, cwd=partial, check=True)
        try:
            partial.rename(folder)
        except OSError:
            shutil.rmtree(partial)  # Another run was faster.
    return folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


@dataclass(frozen=True)
class Azure:
    """A running emulator.

    Attributes:
        port: on loopback.
    """

    port: int

    @property
    def options(self) -> dict[str, object]:
        """What `open_bucket` and `open_store` need beside the URL."""
        return {"endpoint": f"http://127.0.0.1:{self.port}/{ACCOUNT}"}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that open it."""
        return {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}

    def make_bucket(self, name: str) -> str:
        """An empty container; its URL."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        told = "".join(f"{name}:{value}\n" for name, value in headers.items())
        asked = f"PUT{12 * chr(10)}{told}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        signed = base64.b64encode(hmac.digest(base64.b64decode(KEY), asked.encode(), "sha256")).decode()
        path = f"/{ACCOUNT}/{name}?restype=container"
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("PUT", path, headers={**headers, "Authorization": f"SharedKey {ACCOUNT}:{signed}"})
            status = connection.getresponse().status
        assert status == 201, f"container {name}: {status}"
        return f"az://{name}"

    def open(self, url: str, **options: object) -> Bucket:
        """A container, or a prefix in it."""
        return open_bucket(url, {**self.options, **options})


@contextmanager
def azure_server(folder: Path) -> Iterator[Azure]:
    """An emulator that keeps everything in memory; ended with the context."""
    (port,) = free_ports(1)
    flags = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck", f"--blobPort={port}"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(["node", str(program()), *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + LIMIT
        while not _answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, f"Azurite does not start within {LIMIT} s"
            time.sleep(0.05)
        yield Azure(port)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True

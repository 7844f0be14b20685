"""A real S3 server on loopback: SeaweedFS, with one key pair that may do everything and one that may only read.

Nobody in particular may do everything in one bucket. Asked as ``BUCKET.DOMAIN``, it finds the bucket in the host name.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.ports import free_ports
from tfsdeploy.store.bucket import Bucket, open_bucket

WEED = Path(sys.executable).with_name("weed")
REGION = "us-east-1"
KEY, SECRET = "writer-key", "writer-secret-5d41402abc4b"
READER_KEY, READER_SECRET = "reader-key", "reader-secret-7d793037a076"
PUBLIC = "public"
"""A bucket that needs no credentials."""

DOMAIN = "s3.test"
LIMIT = 120.0


@dataclass(frozen=True)
class S3:
    """A running server.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
        filer: the port of its file service, by which buckets are made.
    """

    endpoint: str
    filer: int

    @property
    def options(self) -> dict[str, object]:
        """What `open_bucket` and `open_store` need beside the URL."""
        return {"endpoint": self.endpoint, "region": REGION}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that hold the credentials of the key pair that may do everything."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def make_bucket(self, name: str) -> str:
        """An empty bucket, or the one that all share; its URL."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.filer, timeout=60)) as connection:
            connection.request("POST", f"/buckets/{name}/")
            answer = connection.getresponse()
            answer.read()
        assert answer.status < 300 or (name == PUBLIC and answer.status == 409), f"bucket {name}: {answer.status}"
        return f"s3://{name}"

    def put_raw(self, path: str) -> None:
        """An empty object of a name that the client library would not write: ``/BUCKET/KEY``, percent-encoded."""
        host, body = self.endpoint.removeprefix("http://"), hashlib.sha256(b"").hexdigest()
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": host, "x-amz-content-sha256": body, "x-amz-date": moment}
        scope = f"{moment[:8]}/{REGION}/s3/aws4_request"
        told = "".join(f"{name}:{value}\n" for name, value in headers.items())
        asked = f"PUT\n{path}\n\n{told}\n{';'.join(headers)}\n{body}"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        signed = f"Credential={KEY}/{scope}, SignedHeaders={';'.join(headers)}, Signature={key.hex()}"
        with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
            connection.request("PUT", path, b"", {**headers, "authorization": f"AWS4-HMAC-SHA256 {signed}"})
            status = connection.getresponse().status
        assert status < 300, f"{path}: {status}"

    def open(self, url: str, **options: object) -> Bucket:
        """A bucket, or a prefix in it."""
        return open_bucket(url, {**self.options, **options})


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """A server that keeps its data in an empty folder; ended with the context."""
    for _ in range(3):
        ports = free_ports(8)
        process = start(folder, ports)
        try:
            if _answers(process, ports):
                yield S3(f"http://127.0.0.1:{ports[6]}", ports[4])
                return
        finally:
            # It takes its time to end in good order, and nobody wants what it holds.
            process.kill()
            process.wait()
            remove_sockets(ports)
    raise AssertionError(f"no S3 server; see {folder / 'log'}")


def remove_sockets(ports: Sequence[int]) -> None:
    """Remove the sockets of a server that was killed."""
    for socket in (s for port in ports for s in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")):
        socket.unlink(missing_ok=True)


def start(
    folder: Path,
    ports: Sequence[int],
    host: str = "127.0.0.1",
    inside: Sequence[str] = (),
    *,
    auto_create: bool = False,
    options: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a server.

    Args:
        folder: keeps its data, over ends and starts.
        ports: eight that nobody has; the seventh one is S3's.
        host: the address that it listens at.
        inside: what starts it, such as in another network.
        auto_create: the first object of a bucket makes the bucket.
        options: more of its own.
    """
    data = folder / "data"
    data.mkdir(exist_ok=True)
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    pairs: Mapping[str, Any] = {
        "identities": [
            {"name": "writer", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": everything},
            {
                "name": "reader",
                "credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}],
                "actions": ["Read", "List"],
            },
            {"name": "anonymous", "actions": [f"{action}:{PUBLIC}" for action in ("Read", "List", "Write")]},
        ]
    }
    (folder / "s3.json").write_text(json.dumps(pairs))
    command = [
        *inside, str(WEED), "-logtostderr", "server", f"-dir={data}", f"-ip={host}", f"-ip.bind={host}",
        "-filer", "-s3", *at_ports(ports), "-master.volumeSizeLimitMB=256", "-volume.max=1000",
        f"-s3.domainName={DOMAIN}",
        f"-s3.config={folder / 's3.json'}", f"-s3.autoCreateBucket={str(auto_create).lower()}", *options,
    ]  # fmt: skip
    with (folder / "log").open("ab") as log:
        # It looks for configuration in the home folder.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env={**os.environ, "HOME": str(data)}
        )


def at_ports(ports: Sequence[int]) -> list[str]:
    """The server's options that let it listen at eight ports: the fifth one is the filer's, the seventh one S3's."""
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    both = [name for port in names for name in (port, f"{port}.grpc")]
    options = [f"-{name}={port}" for name, port in zip(both, ports, strict=True)]
    return [*options, "-s3.port.iceberg=0", "-s3.port.lance=0"]


def _answers(process: subprocess.Popen[bytes], ports: list[int]) -> bool:
    """Whether it can write; False if it ended, because somebody else took one of its ports first."""
    end = time.monotonic() + LIMIT
    while process.poll() is None:
        with suppress(OSError, http.client.HTTPException, AssertionError):
            _ask(ports[6])
            _write(ports[4])
            return True
        assert time.monotonic() < end, f"the S3 server does not start within {LIMIT} s"
        time.sleep(0.05)
    return False


def _ask(port: int) -> None:
    # Closed also when nobody answers in time: one that is left open warns in the midst of a later test.
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()


def _write(port: int) -> None:
    # A folder is only a name; a file needs a volume, which comes up later, so that this may be asked more than once.
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("PUT", "/ready/file", body=b"x" * 4096)
        status = connection.getresponse().status
    assert status < 300

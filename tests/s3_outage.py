"""An S3 server that can be lost and come back, change its mind about who may what, and lose its bucket."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import s3
from tests.ports import free_ports
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.store.bucket import Bucket, open_bucket

LIMIT = 120.0


@dataclass
class MortalS3:
    """A server with one bucket, ``models``; whoever uses it has `s3.KEY` in the environment.

    Attributes:
        folder: keeps its data, over ends and starts.
        ports: eight of its own; the seventh one is S3's.
        host: the address that it listens at.
        inside: what starts it, such as in another network.
        reached: its address as this process reaches it, if that is another one.
        more: options of the server's own.
        process: it, while it runs.
    """

    folder: Path
    ports: Sequence[int]
    host: str = "127.0.0.1"
    inside: Sequence[str] = ()
    reached: str = ""
    more: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.ports[6]}"

    @property
    def options(self) -> dict[str, object]:
        """How this process reaches it."""
        return {"endpoint": self.reached or self.endpoint, "region": s3.REGION}

    def open(self, prefix: str) -> Bucket:
        """A prefix in its bucket."""
        return open_bucket(f"s3://models/{prefix}", self.options)

    def start(self) -> None:
        """Start it, and wait until it takes objects."""
        self.process = s3.start(self.folder, self.ports, self.host, self.inside, auto_create=True, options=self.more)
        end = time.monotonic() + LIMIT
        while True:
            with suppress(TfsdeployError):
                self.open("ready").put("x", b"")
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            assert time.monotonic() < end, "the S3 server does not answer"
            time.sleep(0.1)

    def allow(self, name: str, *actions: str) -> None:
        """Change what one of the key pairs of `s3.start` may do, and wait until it is so."""
        file = self.folder / "s3.json"
        pairs = json.loads(file.read_text())
        (pair,) = (one for one in pairs["identities"] if one["name"] == name)
        pair["actions"] = list(actions)
        file.write_text(json.dumps(pairs))
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + LIMIT
        while self._may_list(**pair["credentials"][0]) is not bool(actions):
            assert time.monotonic() < end, "the S3 server does not read its key pairs again"
            time.sleep(0.05)

    def _may_list(self, accessKey: str, secretKey: str) -> bool:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        client = S3Store(
            "models", **self.options, access_key_id=accessKey, secret_access_key=secretKey,
            client_options={"allow_http": True}, virtual_hosted_style_request=False,
        )  # fmt: skip
        try:
            client.list_with_delimiter()
        except BaseError:
            return False
        return True

    def remove_bucket(self) -> None:
        """Remove the bucket with all that is in it."""
        self._files("DELETE", "/buckets/models?recursive=true")

    def make_bucket(self) -> None:
        """Make it anew, with nothing in it."""
        self._files("POST", "/buckets/models/")

    def _files(self, method: str, path: str) -> None:
        with closing(http.client.HTTPConnection(self.host, self.ports[4], timeout=60)) as connection:
            connection.request(method, path)
            status = connection.getresponse().status
        assert status < 300, f"{method} {path}: {status}"

    def kill(self) -> None:
        """End it at once, as a loss would; its data stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        s3.remove_sockets(self.ports)


@contextmanager
def mortal_s3(folder: Path, host: str = "127.0.0.1") -> Iterator[MortalS3]:
    """One on loopback or another address of this machine, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    server = MortalS3(folder, free_ports(8), host)
    server.start()
    try:
        yield server
    finally:
        server.kill()

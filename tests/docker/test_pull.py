"""An image that is not there is pulled, and how far that is, is told."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cluster.images import Image, Layer, pack
from tests.docker import engine as machine
from tfsdeploy.report import Silent
from tfsdeploy.targets.docker.engine import Engine

pytestmark = pytest.mark.docker

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
BYTES = 24 << 20


class Heard(Silent):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shares: list[tuple[str, int, int]] = []

    def say(self, text: str) -> None:
        """A step."""
        self.said.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        """How far it is."""
        self.shares.append((what, done, total))


@contextmanager
def registry(image: Image) -> Iterator[int]:
    """A port of a registry with one image, as far as a pull asks: no registry can be had here."""
    config = image.config()
    blobs = {hashlib.sha256(config).hexdigest(): config}
    blobs |= {layer.digest: layer.file.read_bytes() for layer in image.layers}

    def described(kind: str, digest: str) -> dict[str, object]:
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(blobs[digest])}

    layers = [described(LAYER, layer.digest) for layer in image.layers]
    head = described(CONFIG, hashlib.sha256(config).hexdigest())
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": head, "layers": layers}).encode()

    class Answers(BaseHTTPRequestHandler):
        """The three paths of a pull."""

        def do_GET(self) -> None:
            """A blob, or the manifest by its tag or digest."""
            kind, found = "application/octet-stream", blobs.get(self.path.rpartition("sha256:")[2], b"{}")
            if "/manifests/" in self.path:
                kind, found = MANIFEST, manifest
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(found)))
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(found).hexdigest()}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_pull_tells_how_far_it_is(engine: machine.Engine, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(os.urandom(BYTES))
    pack(tmp_path / "layer.tar", {"bytes": tmp_path / "bytes"})
    assert tarfile.is_tarfile(tmp_path / "layer.tar")
    layer = Layer(tmp_path / "layer.tar", hashlib.sha256((tmp_path / "layer.tar").read_bytes()).hexdigest())
    heard = Heard()
    with registry(Image("pulled:1", (layer,), ("/bin/true",))) as port:
        name = f"127.0.0.1:{port}/team/pulled:1"
        try:
            Engine().need_image(name, heard)
            Engine().need_image(name, heard)
        finally:
            engine.docker("rmi", name)
    assert heard.said == [f"pull    {name}"]
    assert {what for what, _, _ in heard.shares} == {f"pull {name}"}
    assert heard.shares[-1][2] > BYTES
    assert [done for _, done, _ in heard.shares] == sorted(done for _, done, _ in heard.shares)

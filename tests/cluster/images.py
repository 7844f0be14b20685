"""Container images as archives that containerd and Docker load, made without either of them."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: a tar file.

    Attributes:
        file: where it is kept.
        digest: its SHA-256, in hexadecimal.
    """

    file: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is.

    Attributes:
        name: ``repository:tag``.
        layers: the lowest first.
        entrypoint: what runs.
        environment: variables of it.
        user: ``UID:GID``; empty for root.
    """

    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""

    def config(self) -> bytes:
        """The image's configuration; its digest is the image's identity."""
        plain = {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {
                "Entrypoint": list(self.entrypoint),
                "Env": [f"{key}={value}" for key, value in self.environment.items()],
                "User": self.user,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
        }
        return json.dumps(plain, sort_keys=True).encode()

    @property
    def identity(self) -> str:
        """Equal for equal images."""
        return _digest(self.config())


def kept_layer(file: Path, make: Callable[[Path], None]) -> Layer:
    """A layer that is made once.

    Args:
        file: where it is kept; its name says what it is made of.
        make: writes it.
    """
    note = file.with_suffix(".sha256")
    file.parent.mkdir(parents=True, exist_ok=True)
    # The cluster and the Docker engine may be built at the same time, by trees that share the cache.
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            draft = file.with_suffix(".draft")
            make(draft)
            digest: hashlib._Hash = hashlib.sha256()
            with draft.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
            os.replace(draft, file)
            note.write_text(digest.hexdigest())
        return Layer(file, note.read_text())


def pack(file: Path, content: Mapping[str, Path]) -> None:
    """Write a layer: path in the image -> file or folder here; equal content gives equal bytes."""
    with tarfile.open(file, "w") as tar:
        for path, source in sorted(content.items()):
            tar.add(source, arcname=path, filter=_same_everywhere)


def write_archive(stream: IO[bytes], image: Image, without: Collection[str] = ()) -> None:
    """Write an image as an archive, as `docker save` does: an OCI layout that has Docker's own manifest too.

    Args:
        stream: written from the beginning to the end.
        image: what to write.
        without: digests of layers that the reader has already (containerd looks for those in its own store).
    """
    config = image.config()
    layers = [_described(LAYER_TYPE, layer.digest, layer.file.stat().st_size) for layer in image.layers]
    described = _described(CONFIG_TYPE, _digest(config), len(config))
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described, "layers": layers}, sort_keys=True
    ).encode()
    entry = _described(MANIFEST_TYPE, _digest(manifest), len(manifest))
    entry["annotations"] = {"io.containerd.image.name": full_name(image.name)}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    docker = {
        "Config": _blob(_digest(config)),
        "RepoTags": [image.name],
        "Layers": [_blob(layer.digest) for layer in image.layers],
    }
    with tarfile.open(fileobj=stream, mode="w|") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        for document in (config, manifest):
            _add(tar, _blob(_digest(document)), document)
        for layer in {layer.digest: layer for layer in image.layers}.values():
            if layer.digest not in without:
                tar.add(layer.file, arcname=_blob(layer.digest), filter=_same_everywhere)
        _add(tar, "index.json", index)
        _add(tar, "manifest.json", json.dumps([docker]).encode())


def full_name(name: str) -> str:
    """An image's name as containerd and Kubernetes complete it."""
    registry, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    return name if "." in registry or ":" in registry else f"docker.io/{name}"


def _described(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _digest(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()


def _same_everywhere(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))

"""Container images as archives that containerd and Docker load, made without either of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def docker_archive(
    archive: Path,
    name: str,
    content: Mapping[str, Path],
    *,
    entrypoint: Sequence[str],
    environment: Mapping[str, str] | None = None,
    user: str = "",
) -> None:
    """Write an image of one layer.

    Args:
        archive: the tar file to write.
        name: ``repository:tag``.
        content: path in the image -> file or folder here; equal content gives equal bytes.
        entrypoint: what runs.
        environment: variables of it.
        user: ``UID:GID``; empty for root.
    """
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        for path, source in sorted(content.items()):
            tar.add(source, arcname=path, filter=_same_everywhere)
    digest = _sha256(layer)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": list(entrypoint),
            "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
            "User": user,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    text = json.dumps(config, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]
    draft = archive.with_suffix(".draft")
    with tarfile.open(draft, "w") as tar:
        _add(tar, config_name, text)
        tar.add(layer, arcname=f"{digest}.tar", filter=_same_everywhere)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    layer.unlink()
    os.replace(draft, archive)


def _same_everywhere(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _sha256(file: Path) -> str:
    digest: Any = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return str(digest.hexdigest())

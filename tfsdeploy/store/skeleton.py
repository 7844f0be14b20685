"""A version of an object store as a folder in which only what describes it has content, so that little is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tfsdeploy.errors import UsageError
from tfsdeploy.files import temporary_folder
from tfsdeploy.store.answers import StoreAway, StoreError
from tfsdeploy.store.bucket import Bucket
from tfsdeploy.store.checkpoint import INDEX
from tfsdeploy.store.record import File
from tfsdeploy.store.savedmodel import SAVED_MODEL, TFLITE, SavedModelInfo, inspect

_READ = (SAVED_MODEL, TFLITE, f"variables/{INDEX}")

_LARGEST = 2 << 30
"""Bytes of a protocol buffer, which a SavedModel's graph is, and of a FlatBuffer."""


def describe(bucket: Bucket, folder: str, files: Iterable[File]) -> SavedModelInfo:
    """What a version's SavedModel says of itself.

    Args:
        bucket: the store.
        folder: ``MODEL/N``.
        files: the version's; a SHA-256 that is empty is not compared.

    Raises:
        UsageError: it is no complete SavedModel.
        StoreError: it cannot be read.
    """
    url = bucket.where(folder)
    with _skeleton(bucket, folder, files) as path:
        try:
            return replace(inspect(path), path=url)
        except UsageError as error:
            raise UsageError(error.message, where=url, hint=error.hint) from error


@contextmanager
def _skeleton(bucket: Bucket, folder: str, files: Iterable[File]) -> Iterator[Path]:
    with temporary_folder("tfsdeploy-") as root:
        for file in files:
            try:
                (root / file.path).parent.mkdir(parents=True, exist_ok=True)
                with (root / file.path).open("wb") as stream:
                    stream.truncate(file.size)
            except OSError as error:
                # Objects may be called `a` and `a/b`, or longer than a file.
                raise UsageError(
                    f"{file.path!r} cannot be a file: {error.strerror}", where=bucket.where(folder), hint="remove it"
                ) from error
            if file.path in _READ:
                (root / file.path).write_bytes(_content(bucket, f"{folder}/{file.path}", file))
        yield root


def _content(bucket: Bucket, key: str, file: File) -> bytes:
    content = bucket.get(key, _LARGEST)
    if content is None:
        raise StoreError("it is gone", where=bucket.where(key))
    if len(content) != file.size:
        # Of an answer that was cut short, and not of the model, it would be said that it is damaged.
        raise StoreAway("the store's answer has another length", where=bucket.where(key), hint="run this again")
    if file.sha256 and hashlib.sha256(content).hexdigest() != file.sha256:
        raise StoreAway(
            "it has other bytes than its commit record says", where=bucket.where(key), hint="run this again"
        )
    return content

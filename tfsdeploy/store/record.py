"""The commit record: the file that makes a version exist, with every file's size and SHA-256."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import RECORD_FILE

API_VERSION = "tfsdeploy/v1"


class InvalidRecord(TfsdeployError):
    """A commit record that says nothing that could be believed."""


@dataclass(frozen=True, slots=True, order=True)
class File:
    """One file of a version: its path below the version's folder (with ``/``), bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """What a version is.

    Attributes:
        model: its model.
        version: its number.
        digest: ``sha256:…`` over the list of files.
        files: every file but the record itself, sorted by path.
        committed: when, UTC, ISO 8601.
        by: who, ``user@host``.
        tensorflow: the TensorFlow that wrote the model; None if the model does not say.
    """

    model: str
    version: int
    digest: str
    files: tuple[File, ...]
    committed: str
    by: str
    tensorflow: str | None = None

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)


def digest_of(files: Iterable[File]) -> str:
    """One digest over paths, sizes and digests: equal content gives an equal digest, whoever published it."""
    listing = "".join(f"{file.sha256} {file.size} {file.path}\n" for file in sorted(files))
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()


def encode(record: Record) -> str:
    """The record as it stands in the store."""
    plain = {
        "apiVersion": API_VERSION,
        "model": record.model,
        "version": record.version,
        "digest": record.digest,
        "committed": record.committed,
        "by": record.by,
        "tensorflow": record.tensorflow,
        "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in record.files],
    }
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def decode(text: str | bytes, where: str) -> Record:
    """The record that a file holds; unknown keys are ignored.

    Raises:
        InvalidRecord: nonsense, another apiVersion, or a digest that is not that of its own list.
    """
    try:
        plain: Any = json.loads(text)
        if plain["apiVersion"] != API_VERSION:
            raise InvalidRecord(
                f"apiVersion is {plain['apiVersion']!r}, this tfsdeploy reads {API_VERSION!r}", where=where
            )
        files = tuple(sorted(_file(file) for file in plain["files"]))
        tensorflow = plain.get("tensorflow")
        record = Record(
            model=_text(plain["model"]),
            version=_whole(plain["version"]),
            digest=_text(plain["digest"]),
            files=files,
            committed=_text(plain["committed"]),
            by=_text(plain["by"]),
            tensorflow=None if tensorflow is None else _text(tensorflow),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRecord(f"not a commit record: {type(error).__name__}: {error}", where=where) from error
    if any(not _inside(file.path) for file in files):
        raise InvalidRecord("it names a file outside its version", where=where)
    if len({file.path for file in files}) < len(files):
        raise InvalidRecord("it names a file twice", where=where)
    if record.digest != digest_of(files):
        raise InvalidRecord("its digest is not that of the files that it lists", where=where)
    return record


def read(path: Path, model_name: str, version: int) -> Record:
    """The record of a version, from its folder.

    Raises:
        InvalidRecord: nonsense, or the record of another version.
        OSError: there is none, or it cannot be read.
    """
    file = path / RECORD_FILE
    if not stat.S_ISREG(os.stat(file).st_mode):
        # A pipe or a device would be waited for, for ever.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    return decode_as(file.read_bytes(), model_name, version, str(file))


def decode_as(text: str | bytes, model_name: str, version: int, where: str) -> Record:
    """`decode`, and refuse the record of another version.

    Raises:
        InvalidRecord: nonsense, or it is that.
    """
    record = decode(text, where)
    if (record.model, record.version) != (model_name, version):
        raise InvalidRecord(
            f"it is the record of {record.model} {record.version}: the folder was copied or renamed",
            where=where,
            hint=f"remove it, then `tfsdeploy adopt {model_name} {version}` makes one",
        )
    return record


def _file(plain: Any) -> File:
    return File(_text(plain["path"]), _whole(plain["size"]), _text(plain["sha256"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    # JSON can spell half of a surrogate pair, which nothing can hash or print: UnicodeEncodeError is a ValueError.
    value.encode()
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _inside(path: str) -> bool:
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and not any(part in ("", ".", "..") for part in parts)

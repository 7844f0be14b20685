"""The commit record: the file that makes a version exist, with every file's size and SHA-256."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import RECORD_FILE

API_VERSION = "tfsdeploy/v1"

LARGEST = 64 << 20
"""Bytes of the largest commit record that is read: one of 100,000 files with long names has some 30 MB."""

_LONGEST = 255
"""Bytes of the longest name of a file (NAME_MAX of Linux's file systems)."""


class InvalidRecord(TfsdeployError):
    """A commit record that says nothing that could be believed."""


@dataclass(frozen=True, slots=True, order=True)
class File:
    """One file of a version: its path below the version's folder (with ``/``), bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Check:
    """What `push --check` found when it loaded the version once, in the embedded server.

    Attributes:
        tensorflow: the TensorFlow that loaded it.
        load_seconds: from the files on a disk to the first request, warm-up included.
        memory: bytes that the server's process grew by, with the version loaded and having answered.
        peak_memory: bytes that it grew by at most meanwhile; at least ``memory``.
        warm_up: warm-up requests that it answered.
        golden: golden requests that it answered as expected.
    """

    tensorflow: str
    load_seconds: float
    memory: int
    peak_memory: int
    warm_up: int
    golden: int


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature over a record: the id of the key that made it, and the signature itself in base64."""

    key: str
    signature: str


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
        signatures: the served graph's, as `tfsdeploy.store.savedmodel.signatures_to_plain` writes them; None in records
            of a tfsdeploy that did not write them.
        check: what loading it once has shown; None unless that was asked for.
        signed: signatures over this record, one for each key.
        text: the document that it was read from, keys that are not known here included: a copy of a version has the
            same; None for a record that was made here.
    """

    model: str
    version: int
    digest: str
    files: tuple[File, ...]
    committed: str
    by: str
    tensorflow: str | None = None
    signatures: Mapping[str, Any] | None = None
    check: Check | None = None
    signed: tuple[Signed, ...] = ()
    text: str | None = field(default=None, compare=False, repr=False)

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
    if record.text is not None:
        return record.text
    plain = {
        "apiVersion": API_VERSION,
        "model": record.model,
        "version": record.version,
        "digest": record.digest,
        "committed": record.committed,
        "by": record.by,
        "tensorflow": record.tensorflow,
        "signatures": record.signatures,
        "check": None if record.check is None else check_to_plain(record.check),
        "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in record.files],
        "signed": [asdict(signed) for signed in record.signed],
    }
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def statement(record: Record) -> bytes:
    """What a signature is about: the whole document but its signatures, in one spelling."""
    plain = json.loads(encode(record))
    plain.pop("signed", None)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def with_signed(record: Record, signed: tuple[Signed, ...]) -> Record:
    """The same record with other signatures; keys that are not known here stay."""
    if record.text is None:
        return replace(record, signed=signed)
    plain = json.loads(record.text) | {"signed": [asdict(one) for one in signed]}
    return replace(record, signed=signed, text=json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def decode(text: str | bytes, where: str) -> Record:
    """The record that a file holds; unknown keys are ignored.

    Raises:
        InvalidRecord: nonsense, another apiVersion, or a digest that is not that of its own list.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
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
            committed=in_one_line(_text(plain["committed"])),
            by=in_one_line(_text(plain["by"])),
            tensorflow=None if tensorflow is None else _text(tensorflow),
            signatures=_mapping(plain.get("signatures")),
            check=_check(plain.get("check")),
            signed=tuple(
                Signed(in_one_line(_text(one["key"])), _text(one["signature"])) for one in plain.get("signed") or ()
            ),
            text=text,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        hint = "if its version is whole, remove this file, and `tfsdeploy adopt MODEL N` makes another"
        raise InvalidRecord(f"not a commit record: {why}", where=where, hint=hint) from error
    if wrong := _unfit([file.path for file in files]):
        raise InvalidRecord(wrong, where=where)
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


def check_to_plain(check: Check) -> dict[str, Any]:
    """A check as JSON values, as records keep it and `versions -o json` shows it."""
    return {
        "tensorflow": check.tensorflow,
        "loadSeconds": check.load_seconds,
        "memory": check.memory,
        "peakMemory": check.peak_memory,
        "warmUp": check.warm_up,
        "golden": check.golden,
    }


def _check(plain: Any) -> Check | None:
    if plain is None:
        return None
    return Check(
        tensorflow=_text(plain["tensorflow"]),
        load_seconds=_seconds(plain["loadSeconds"]),
        memory=_whole(plain["memory"]),
        peak_memory=_whole(plain["peakMemory"]),
        warm_up=_whole(plain["warmUp"]),
        golden=_whole(plain["golden"]),
    )


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f"{value!r} is no span of time")
    return float(value)


def _mapping(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{value!r} is no mapping")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    # JSON can spell half of a surrogate pair, which nothing can hash or print: UnicodeEncodeError is a ValueError.
    value.encode()
    return value


def in_one_line(text: str) -> str:
    """What somebody else wrote, so that a terminal that shows it does nothing else, and it forges no line of ours."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _unfit(paths: Sequence[str]) -> str | None:
    """Why files of these names cannot be a version on a disk; None if they can."""
    names, folders = set(paths), set[str]()
    for path in paths:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            return "it names a file outside its version"
        if not path.isprintable() or any(len(part.encode()) > _LONGEST for part in parts):
            return f"it names a file that no disk could hold: {path[:60]!r}"
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
    if len(names) < len(paths):
        return "it names a file twice"
    if both := names & folders:
        return f"it names {min(both)!r} both as a file and as a folder"
    if RECORD_FILE in names:
        return "it names itself as a file"
    return None

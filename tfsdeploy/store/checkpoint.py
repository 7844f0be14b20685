"""Whether a SavedModel's variables are complete, from the index that TensorFlow writes beside them.

The index is a table of LevelDB's format (tensorflow/core/lib/io/format.h: blocks, a footer with the place of the index
block), uncompressed (tensor_bundle.cc), from a variable's name to the shard, offset and size of its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from tfsdeploy.protocol.wire import BundleEntryProto, BundleHeaderProto

INDEX = "variables.index"

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57

# What TensorFlow 2 keeps beside the variables (python/checkpoint/, python/trackable/base.py).
_NO_VARIABLE = (b"_CHECKPOINTABLE_OBJECT_GRAPH", b"/.ATTRIBUTES/OBJECT_CONFIG_JSON")

# How the names of a partitioned variable's slices begin (util/saved_tensor_slice_util.cc); as a whole it is there too.
_SLICE = b"\0"


class Torn(ValueError):
    """Variables that are not all there: says which file is missing, cut short or damaged."""


def check_variables(folder: Path) -> int:
    """Check that all bytes are there that the index promises; reads none of them.

    Args:
        folder: ``variables`` of a SavedModel.

    Returns:
        How many variables there are.

    Raises:
        Torn: something is missing.
        OSError: the folder cannot be read.
    """
    try:
        entries = _table((folder / INDEX).read_bytes())
        shards = BundleHeaderProto.FromString(entries.pop(b"")).num_shards
        tensors = {key: BundleEntryProto.FromString(value) for key, value in entries.items()}
    except FileNotFoundError as error:
        raise Torn(f"variables/{INDEX} is missing") from error
    except (KeyError, IndexError, struct.error, DecodeError) as error:
        raise Torn(f"variables/{INDEX} is damaged or cut short") from error
    ends: dict[int, int] = {}
    for entry in tensors.values():
        ends[entry.shard_id] = max(ends.get(entry.shard_id, 0), entry.offset + entry.size)
    if any(not 0 <= shard < shards for shard in ends):
        raise Torn(f"variables/{INDEX} is damaged: it names a shard of which there are only {shards}")
    for shard in range(shards):
        _check_shard(folder / f"variables.data-{shard:05}-of-{shards:05}", ends.get(shard, 0))
    return sum(not key.startswith(_SLICE) and not key.endswith(_NO_VARIABLE) for key in tensors)


def _check_shard(shard: Path, end: int) -> None:
    try:
        size = shard.stat().st_size
    except FileNotFoundError as error:
        raise Torn(f"variables/{shard.name} is missing") from error
    if size < end:
        raise Torn(f"variables/{shard.name} is cut short: it has {size} of {end} bytes")


def _table(content: bytes) -> dict[bytes, bytes]:
    footer = content[-_FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise KeyError("magic")
    _, at = _handle(footer, 0)
    (offset, size), _ = _handle(footer, at)
    found: dict[bytes, bytes] = {}
    for _, block in _block(content[offset : offset + size]):
        (offset, size), _ = _handle(block, 0)
        found.update(_block(content[offset : offset + size]))
    return found


def _block(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys, each told as what it shares with the one before and what differs, and values; then restart points."""
    restarts = struct.unpack("<I", block[-4:])[0]
    at, end, key = 0, len(block) - 4 - 4 * restarts, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        size, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + size]
        at += size


def _handle(block: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(block, at)
    size, at = _varint(block, at)
    return (offset, size), at


def _varint(block: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = block[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

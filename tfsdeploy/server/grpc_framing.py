"""What gRPC lays on HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md): what a request's head says, and its one, framed message."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.http2_frames import Fields

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(frozen=True, slots=True)
class Head:
    """What a request's header fields say.

    Attributes:
        path: the method.
        seconds: until its deadline.
        encoding: of compressed messages.
        refusal: HTTP status, if it is no gRPC request.
    """

    path: bytes
    seconds: float | None
    encoding: bytes
    refusal: bytes


@dataclass(frozen=True, slots=True)
class Packed:
    """How a message is compressed, and what it may be inflated to, in bytes."""

    encoding: bytes
    most: int


def head_of(fields: Fields) -> Head:
    """What a request's header fields say; a malformed deadline is refused, as is what is not gRPC."""
    found = dict(fields)
    refusal = b""
    if found.get(b":method") != b"POST":
        refusal = b"405"
    elif not found.get(b"content-type", b"").startswith(b"application/grpc"):
        refusal = b"415"
    timeout = found.get(b"grpc-timeout", b"")
    seconds = None
    if timeout[:-1].isdigit() and len(timeout) <= 9 and timeout[-1:] in _UNITS:
        seconds = int(timeout[:-1]) * _UNITS[timeout[-1:]]
    elif timeout:
        refusal = b"400"
    return Head(found.get(b":path", b""), seconds, found.get(b"grpc-encoding", b"identity"), refusal)


def checked_size(body: bytearray, most: int) -> int:
    """The size of a request's message, as far as it has come.

    Args:
        body: what there is of the request: a byte for compression, four for the size, the message.
        most: bytes that a message may have.

    Raises:
        Failed: it is too large, or not the only one.
    """
    size = int.from_bytes(body[1:5], "big") if len(body) >= 5 else 0
    if size > most:
        raise too_large("Received", size, most)
    if len(body) > 5 + size:
        raise Failed("UNIMPLEMENTED", "this method takes exactly one message")
    return size


def one_message(body: bytearray, most: int) -> bytes:
    """The one message of a request.

    Raises:
        Failed: there is none, or it is not whole.
    """
    size = checked_size(body, most)
    if not body:
        raise Failed("UNIMPLEMENTED", "this method takes exactly one message")
    if len(body) < 5 + size or body[0] > 1:
        raise Failed("INTERNAL", "the message is not complete")
    return bytes(memoryview(body)[5:])


def inflate(message: bytes, packed: Packed) -> bytes:
    """A compressed message, as it was; some kilobytes may be gigabytes: not for the event loop.

    Raises:
        Failed: an unknown compression, a message that is damaged, or too large.
    """
    if packed.encoding not in (b"gzip", b"deflate"):
        name = packed.encoding.decode(errors="replace")
        raise Failed("UNIMPLEMENTED", f"Compression algorithm '{name}' is not known")
    stream = zlib.decompressobj(wbits=31 if packed.encoding == b"gzip" else 15)
    try:
        inflated = stream.decompress(message, packed.most + 1)
    except zlib.error as error:
        raise Failed("INTERNAL", f"a message that cannot be inflated: {error}") from error
    if len(inflated) > packed.most:
        raise too_large("Received", len(inflated), packed.most)
    if not stream.eof:
        raise Failed("INTERNAL", "a message that cannot be inflated: its end is missing")
    return inflated


def framed(message: bytes) -> bytes:
    """A message as it is sent, not compressed."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def too_large(what: str, size: int, most: int) -> Failed:
    """In gRPC's own words, for a message that was "Sent" or "Received"; sizes in bytes."""
    return Failed("RESOURCE_EXHAUSTED", f"{what} message larger than max ({size} vs. {most})")

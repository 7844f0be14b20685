"""Public ed25519 keys: as text in a fleet file, or in a PEM file that it names."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.addresses import resolved_path

PREFIX = "ed25519:"

KEY_PATTERN = rf"{PREFIX}[A-Za-z0-9+/]{{43}}="

# SubjectPublicKeyInfo of an ed25519 key, before its 32 bytes (RFC 8410, section 4).
_HEAD = bytes.fromhex("302a300506032b6570032100")
_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


def public_key(named: str, folder: Path) -> str:
    """A key that is named in a fleet file, as text.

    Args:
        named: the key itself, or a PEM file.
        folder: what the file is seen from.

    Raises:
        UsageError: it is neither.
    """
    if not named.startswith(PREFIX):
        return read_public(resolved_path(named, folder))
    if re.fullmatch(KEY_PATTERN, named) is None:
        hint = f"write {PREFIX} and 44 characters of base64, or the path of a PEM file"
        raise UsageError("this is no public ed25519 key", where=named[:60], hint=hint)
    return named


def encoded(public: bytes) -> str:
    """A key of 32 bytes as text."""
    return PREFIX + base64.b64encode(public).decode()


def raw(key: str) -> bytes:
    """The inverse of `encoded`; raises ValueError."""
    if not key.startswith(PREFIX):
        raise ValueError("no ed25519 key")
    return base64.b64decode(key.removeprefix(PREFIX), validate=True)


def read_public(file: Path) -> str:
    """The key in a PEM file, as text.

    Raises:
        UsageError: it cannot be read, or is no public ed25519 key.
    """
    hint = "`openssl pkey -in PRIVATE.pem -pubout` writes one"
    try:
        text = file.read_text(encoding="ascii")
    except OSError as error:
        raise UsageError(f"the key cannot be read: {error.strerror}", where=str(file), hint=hint) from error
    except ValueError:
        # Not ASCII, or a NUL in the path.
        text = ""
    if "PRIVATE KEY" in text:
        raise UsageError("this is a private key; only the public one belongs here", where=str(file), hint=hint)
    try:
        found = base64.b64decode("".join(text.split(_BEGIN)[1].split(_END)[0].split()), validate=True)
    except (IndexError, binascii.Error):
        found = b""
    if len(found) != len(_HEAD) + 32 or not found.startswith(_HEAD):
        raise UsageError("this is no public ed25519 key in PEM form", where=str(file), hint=hint)
    return encoded(found.removeprefix(_HEAD))

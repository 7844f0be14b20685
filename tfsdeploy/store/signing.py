"""Ed25519 signatures over commit records: made by who publishes, required by who serves (RFC 8032).

A key is written ``ed25519:`` and its 32 public bytes in base64. `cryptography` is imported when a signature is made or
compared, and not before: it is an extra.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.fleet.keys import encoded, raw
from tfsdeploy.store.record import InvalidRecord, Record, Signed, statement, with_signed

INSTALL = "pip install 'tfsdeploy[signing]'"


class Untrusted(InvalidRecord):
    """A commit record without a signature that the fleet asks for."""


class SigningKey:
    """A private key.

    Args:
        file: in PEM form, as ``openssl genpkey -algorithm ed25519`` writes it.

    Raises:
        UsageError: it is no such file.
        TfsdeployError: `cryptography` is not installed.
    """

    def __init__(self, file: Path) -> None:
        ed25519, serialization = _library("to sign")
        hint = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"
        try:
            found = serialization.load_pem_private_key(file.read_bytes(), password=None)
        except OSError as error:
            raise UsageError(f"the key cannot be read: {error.strerror}", where=str(file), hint=hint) from error
        except TypeError as error:
            hint = f"`openssl pkey -in {file.name}` writes it without"
            raise UsageError("the key is protected by a passphrase", where=str(file), hint=hint) from error
        except Exception as error:
            # ValueError, UnsupportedAlgorithm and more; their texts could quote the file.
            raise UsageError("this is no private key in PEM form", where=str(file), hint=hint) from error
        if not isinstance(found, ed25519.Ed25519PrivateKey):
            raise UsageError("this is no ed25519 key", where=str(file), hint=hint)
        self._key: Any = found
        self.public = encoded(found.public_key().public_bytes_raw())

    def sign(self, record: Record) -> Record:
        """The record with this key's signature beside those that it has.

        Raises:
            InvalidRecord: it cannot be spelled in one way, and so not be signed.
        """
        try:
            signature = base64.b64encode(self._key.sign(statement(record))).decode()
        except ValueError as error:
            raise InvalidRecord(f"it cannot be signed: {error}", where=f"{record.model}/{record.version}") from error
        others = tuple(one for one in record.signed if one.key != self.public)
        return with_signed(record, (*others, Signed(self.public, signature)))


def check_signed(record: Record, trusted: Collection[str]) -> None:
    """Refuse a record that none of the trusted keys has signed as it is; nothing is refused if no key is given.

    Args:
        record: the record.
        trusted: keys, one of which must have signed it.

    Raises:
        Untrusted: says what is wrong with it.
        TfsdeployError: `cryptography` is not installed.
    """
    if not trusted:
        return
    name = f"{record.model}/{record.version}"
    theirs = [one for one in record.signed if one.key in trusted]
    if theirs:
        if any(_is_right(record, one) for one in theirs):
            return
        raise Untrusted(
            f"{name}: the signature by {theirs[0].key} is not one of this commit record: it was changed since",
            hint="publish the version anew, under another number",
        )
    by = f"signed by {record.signed[0].key}, a key that is not trusted here" if record.signed else "not signed"
    raise Untrusted(
        f"{name}: its commit record is {by}, and storeOptions.requireSignature asks for a signature",
        hint=f"`tfsdeploy adopt {record.model} {record.version} --sign KEY` signs it, once its bytes were compared",
    )


def signer(file: Path, trusted: Collection[str]) -> Callable[[Record], Record]:
    """What signs with the key in a file; refuses one whose signature the fleet would not accept.

    Raises:
        UsageError: it is no private key, or one that is not among the trusted ones.
        TfsdeployError: `cryptography` is not installed.
    """
    key = SigningKey(file)
    if trusted and key.public not in trusted:
        raise UsageError(
            f"the fleet does not trust this key: {key.public}",
            where=str(file),
            hint="use one that storeOptions.requireSignature names, or name this one there",
        )
    return key.sign


def as_compared(sign: Callable[[Record], Record], record: Record) -> Callable[[Record], Record]:
    """What signs a record, and no other that was put in its place after its bytes were compared with it.

    Raises, when it signs:
        Busy: it is another one.
    """

    def signed(found: Record) -> Record:
        if statement(found) != statement(record):
            raise Busy(
                "others changed the commit record meanwhile; it was not signed",
                where=f"{record.model}/{record.version}",
                hint="find out who, then run this again",
            )
        return sign(found)

    return signed


def _is_right(record: Record, signed: Signed) -> bool:
    ed25519, _ = _library("to compare signatures")
    from cryptography.exceptions import InvalidSignature

    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(raw(signed.key))
        public.verify(base64.b64decode(signed.signature, validate=True), statement(record))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _library(purpose: str) -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise TfsdeployError(f"the package cryptography is needed {purpose}", hint=INSTALL) from error
    return ed25519, serialization

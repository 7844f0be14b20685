"""Ed25519 keys for tests, in PEM files as `openssl` writes them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tfsdeploy.fleet.keys import read_public


def write_key(folder: Path, name: str, passphrase: bytes | None = None) -> tuple[Path, str]:
    """A new key: ``NAME.pem``, its public half ``NAME.pub.pem`` beside it, and that one as text."""
    key = Ed25519PrivateKey.generate()
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    pem = serialization.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, protection))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, read_public(public)

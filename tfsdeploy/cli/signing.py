"""The key that `push` and `adopt` sign with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tfsdeploy.errors import UsageError

if TYPE_CHECKING:
    from tfsdeploy.store.record import Record
    from tfsdeploy.store.store import Store

SIGN_HELP = "Sign its commit record: a private ed25519 key, a PEM file."


def signing(store: Store, key: Path | None) -> Callable[[Record], Record]:
    """What puts a key's signature on a record; without a key, what leaves it as it is.

    Raises:
        UsageError: it is no private key, or not one that the fleet trusts.
        TfsdeployError: `cryptography` is not installed.
    """
    if key is None:
        return lambda record: record
    from tfsdeploy.store.signing import signer

    return signer(key, store.trusted)


def check_asked(store: Store, key: Path | None) -> None:
    """Refuse to publish what the fleet would refuse to load.

    Raises:
        UsageError: it asks for a signature, and there is no key.
    """
    if store.trusted and key is None:
        raise UsageError(
            "the fleet loads signed versions only (storeOptions.requireSignature), and no key is named",
            hint="--sign KEY, the private key's file",
        )

"""Before a fleet asks for other signatures: what it serves must have them, or its replicas could not load it anew."""

from __future__ import annotations

from tfsdeploy.deploy.plan import Committed
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.release.model import Release
from tfsdeploy.store.record import InvalidRecord
from tfsdeploy.targets.base import Settings


def check_trust(before: Settings | None, fleet: Fleet, release: Release, store: Committed) -> None:
    """Refuse a fleet file that would leave replicas without the versions that they hold.

    Args:
        before: what `up` last applied; None if the fleet is not there.
        fleet: what is wanted.
        release: what replicas hold.
        store: believes only what the fleet file believes.

    Raises:
        TfsdeployError: a version is not signed as the file asks; nothing was changed.
    """
    keys = set(fleet.store.options.require_signature)
    if before is None or not keys or not is_narrower(before.store_options.get("require_signature"), keys):
        return
    for name, model in release.models.items():
        for version in sorted(model.versions):
            try:
                store.digest(name, version)
            except InvalidRecord as error:
                raise TfsdeployError(
                    f"the fleet holds a version that its replicas would not load again: {error.message}; "
                    "nothing was changed",
                    where=str(fleet.file),
                    hint=error.hint,
                ) from error


def is_narrower(before: object, keys: set[str]) -> bool:
    """Whether something that was believed is not believed any more; no keys at all believe everything."""
    known = set(before) if isinstance(before, list | tuple) else set()
    return not known or not known <= keys

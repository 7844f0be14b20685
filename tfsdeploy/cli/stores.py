"""Which store a command means: the fleet file's, or that of the fleet that is up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfsdeploy.cli.call import Call
from tfsdeploy.errors import UsageError

if TYPE_CHECKING:
    from tfsdeploy.deploy.stores import StoredModels
    from tfsdeploy.fleet.model import Fleet


def committed(fleet: Fleet) -> StoredModels:
    """The store that a fleet file names."""
    from tfsdeploy.deploy.stores import StoredModels
    from tfsdeploy.fleet.model import to_plain

    return StoredModels(fleet.store.url, to_plain(fleet.store.options))


def models_of(call: Call) -> StoredModels:
    """The store of the fleet that a call is about."""
    from tfsdeploy.deploy.stores import StoredModels

    if call.named is None:
        return committed(call.fleet)
    settings = call.settings
    return StoredModels(settings.store, settings.store_options)


def known_model(store: StoredModels, model: str) -> None:
    """Refuse a model that the store does not have.

    Raises:
        UsageError: says which it has.
    """
    models = store.store.models()
    if model not in models:
        there = ", ".join(models) or "none yet; `tfsdeploy push` publishes one"
        raise UsageError(f"the store has no model {model!r}", where=store.store.url, hint=f"it has: {there}")


def store_words(fleet: Fleet) -> str:
    """What a fleet's store holds, in words.

    Raises:
        TfsdeployError: it cannot be used.
        OSError: its folder cannot be read.
    """
    store = committed(fleet).store
    next(store.root.iterdir(), None)
    return f"{store.url}: {len(store.models())} models"

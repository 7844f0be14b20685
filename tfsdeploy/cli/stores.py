"""Which store a command means: the fleet file's, or that of the fleet that is up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from tfsdeploy.cli.call import Call
from tfsdeploy.errors import TfsdeployError, UsageError

if TYPE_CHECKING:
    from tfsdeploy.deploy.replica_store import ReplicaModels
    from tfsdeploy.deploy.stores import StoredModels
    from tfsdeploy.fleet.model import Fleet
    from tfsdeploy.release.model import Release
    from tfsdeploy.targets.base import Settings, Target

LOCAL = "local"

IN_VOLUMES = ("pvc://", "nfs://")
"""Stores that only replicas see."""


def _url(call: Call) -> str:
    """Of the store of the fleet that a call is about."""
    return call.settings.store if call.named else call.fleet.store.url


def _is_here(call: Call) -> bool:
    """Whether what this machine sees at the store's URL is what the fleet's replicas see, in the same way."""
    from tfsdeploy.fleet.addresses import is_object_store

    url = _url(call)
    elsewhere = call.target.kind != LOCAL and (is_object_store(url) or url.startswith(IN_VOLUMES))
    return not elsewhere and _is_on_this_machine(call)


def _is_on_this_machine(call: Call) -> bool:
    """Whether the fleet's replicas run here."""
    if call.target.kind != "docker":
        return call.target.kind == LOCAL
    from tfsdeploy.targets.docker.target import DockerTarget

    assert isinstance(call.target, DockerTarget)
    return call.target.engine.is_local


def committed(fleet: Fleet) -> StoredModels:
    """The store that a fleet file names."""
    from tfsdeploy.deploy.stores import StoredModels
    from tfsdeploy.fleet.model import to_plain

    return StoredModels(fleet.store.url, to_plain(fleet.store.options))


def of_file(call: Call) -> StoredModels | ReplicaModels:
    """The store that a fleet file names; it need not be there."""
    if _is_here(call):
        return committed(call.fleet)
    from tfsdeploy.deploy.replica_store import ReplicaModels
    from tfsdeploy.fleet.model import to_plain

    return ReplicaModels(call.target, call.fleet.store.url, to_plain(call.fleet.store.options))


def readable(call: Call) -> StoredModels | ReplicaModels:
    """The store of the fleet that a call is about, read from here or through the fleet's replicas."""
    from tfsdeploy.fleet.addresses import is_object_store

    url = _url(call)
    # An object store may be reached from here too; once the fleet is up, its replicas surely reach it.
    if _is_here(call) or (is_object_store(url) and call.target.settings() is None):
        return models_of(call)
    from tfsdeploy.deploy.replica_store import ReplicaModels
    from tfsdeploy.fleet.model import to_plain

    return ReplicaModels(
        call.target, url, call.settings.store_options if call.named else to_plain(call.fleet.store.options)
    )


def models_of(call: Call) -> StoredModels:
    """The store of the fleet that a call is about, to be read and written from here.

    Raises:
        UsageError: only the fleet's replicas can reach it.
        TfsdeployError: it is away.
    """
    from tfsdeploy.fleet.addresses import is_object_store

    url = _url(call)
    if url.startswith(IN_VOLUMES):
        raise UsageError(
            "only the fleet's replicas can reach this store",
            where=url,
            hint="run this where the volume is mounted, with a fleet file whose store is file://FOLDER",
        )
    from tfsdeploy.deploy.stores import StoredModels

    if call.named is None:
        models, settings = committed(call.fleet), _settings_if_up(call)
    else:
        settings = call.settings
        models = StoredModels(settings.store, settings.store_options)
    if settings is None:
        return models
    try:
        models.store.check_there()
    except TfsdeployError as error:
        # An empty store made in its place would give numbers away anew that the fleet's history knows.
        if _has_versions(call):
            hint = error.hint or ("run this again later" if is_object_store(url) else "mount it again")
            error.hint = f"fleet {settings.fleet} serves on without it; {hint}"
            raise
    return models


def _has_versions(call: Call) -> bool:
    """Whether the fleet that is up has had a version from its store; one that waits for its first may be without."""
    from tfsdeploy.release.history import needed_versions

    release = call.target.releases().read()
    return release is None or any(needed_versions(release, call.target.releases().history()).values())


def asked(stored: StoredModels, model: str | None, version: int | None) -> Iterator[tuple[str, int]]:
    """Every committed version of a store, of a model, or the one that is named.

    Raises:
        UsageError: there is no such model or version; says which there are.
    """
    from tfsdeploy.deploy.checks import check_committed
    from tfsdeploy.store.record import InvalidRecord

    if model is None:
        yield from ((name, number) for name in stored.models() for number in stored.versions(name))
        return
    known_model(stored, model)
    if version is None:
        yield from ((model, number) for number in stored.versions(model))
        return
    with suppress(InvalidRecord):
        # Whoever reads the version is told what is wrong with its record.
        check_committed(stored, model, version)
    yield model, version


def remembering(call: Call) -> Target:
    """The fleet's target; what its releases will need is noted in the store first, where that can be done from here."""
    from tfsdeploy.deploy.references import Remembering
    from tfsdeploy.fleet.addresses import is_object_store

    url = _url(call)
    if not _is_here(call) and not (is_object_store(url) and can_ask(url)):
        return call.target
    from tfsdeploy.deploy.stores import StoredModels

    stored = StoredModels(call.settings.store, call.settings.store_options) if call.named else committed(call.fleet)
    return cast("Target", Remembering(call.target, stored.store.notes, call.report))


def can_ask(url: str) -> bool:
    """Whether an object store can be asked from here; without, a client would look for a cloud's own service."""
    from tfsdeploy.store.connect import google_file, profile_variables
    from tfsdeploy.targets.local.credentials import has_credentials

    if has_credentials(os.environ):
        return True
    if url.startswith("gs://"):
        return google_file().exists()
    with suppress(TfsdeployError):
        return url.startswith("s3://") and "AWS_ACCESS_KEY_ID" in profile_variables(os.environ)
    return False


def memory_here(call: Call) -> int | None:
    """Bytes of memory that replicas on this machine can have; None if they are elsewhere."""
    from tfsdeploy.deploy.doctor import available_memory

    return available_memory() if _is_on_this_machine(call) else None


def pinned_troubles(
    call: Call, release: Release | None, store: StoredModels | ReplicaModels
) -> Iterator[tuple[str, str]]:
    """What `promote` would refuse of the versions that the fleet file pins, each with its place in the file.

    Args:
        call: the command's call.
        release: what is live; None if nothing is, or if that is not known.
        store: of the fleet.

    Raises:
        TfsdeployError: the store does not answer.
    """
    from tfsdeploy.deploy.foresight import refusals
    from tfsdeploy.release.update import nothing
    from tfsdeploy.targets.settings import settings_of

    settings = settings_of(call.fleet, call.target.kind, str(call.fleet.file))
    return refusals(call.fleet, release or nothing(call.fleet.name), store, settings)


def warn_of_pins(call: Call, store: StoredModels | ReplicaModels) -> None:
    """Tell what `promote` would refuse of the versions that the fleet file pins, as far as it can be known."""
    with suppress(TfsdeployError):
        for path, message in pinned_troubles(call, call.target.releases().read(), store):
            call.report.warn(f"{path}: {message}")


def highest_known(call: Call, model: str) -> int:
    """The highest version of a model that the release of the fleet, or its history, remembers; 0 if none."""
    from tfsdeploy.release.history import needed_versions

    settings = call.settings if call.named else _settings_if_up(call)
    release = None if settings is None else call.target.releases().read()
    if release is None:
        return 0
    return max(needed_versions(release, call.target.releases().history()).get(model, ()), default=0)


def _settings_if_up(call: Call) -> Settings | None:
    # A store can be filled before the target that its fleet names is there.
    return call.target.settings() if call.fleet.target == LOCAL else None


def known_model(store: StoredModels | ReplicaModels, model: str) -> None:
    """Refuse a model that the store does not have.

    Raises:
        UsageError: says which it has.
    """
    models = store.models()
    if model not in models:
        there = ", ".join(models) or "none yet; `tfsdeploy push` publishes one"
        raise UsageError(f"the store has no model {model!r}", where=store.url, hint=f"it has: {there}")


def store_words(fleet: Fleet) -> str:
    """What a fleet's store holds, in words.

    Raises:
        TfsdeployError: it cannot be used.
    """
    from tfsdeploy.deploy.words import count

    store = committed(fleet).store
    store.check_there()
    return f"{store.url}: {count(len(store.models()), 'model')}"

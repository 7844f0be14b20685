"""How the model store reaches the pods, and which Pod Security level that needs. Pure."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, replace
from typing import Literal

from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.render.containers import MODELS

BATCHING_FILE = "/etc/tfsdeploy/batching.config"

Level = Literal["restricted", "baseline", "privileged"]
LEVELS: tuple[Level, ...] = ("restricted", "baseline", "privileged")
"""The Pod Security levels, the strictest first."""


CACHE = "/var/cache/tfsdeploy"
"""Where the node cache stands in an agent that reads its store in place."""


@dataclass(frozen=True, slots=True)
class NodeCache:
    """What the replicas of a node share; one of the two is set.

    Attributes:
        path: the folder on each node.
        claim: the PersistentVolumeClaim.
        folder: a store's own folder in it: fleets with the same store share what they have.
    """

    path: str | None
    claim: str | None
    folder: str


@dataclass(frozen=True, slots=True)
class StoreVolume:
    """The volume of the models; one of the four ways is set.

    Attributes:
        fetched: an empty folder, into which the agent brings versions from an object store.
        claim: the PersistentVolumeClaim to mount.
        server: the NFS server.
        path: the folder on the NFS server, or on each node if there is no server.
        folder: the store's folder below the mount point, empty or beginning with a slash.
        level: the Pod Security level that pods with it need.
        cache: what the replicas of a node share; None: each has its own.
    """

    claim: str | None
    server: str | None
    path: str | None
    folder: str
    level: Level
    fetched: bool = False
    cache: NodeCache | None = None

    @property
    def made(self) -> bool:
        """Whether the claim and its PersistentVolume are ours."""
        return self.claim is not None and self.server is not None


def store_volume(fleet: Fleet) -> StoreVolume:
    """The volume of a fleet's store, and what the replicas of a node share.

    Raises:
        UsageError: pods cannot reach it.
    """
    volume, cache = _volume(fleet), _node_cache(fleet)
    level: Level = "privileged" if cache is not None and cache.path is not None else volume.level
    return replace(volume, level=level, cache=cache)


def _node_cache(fleet: Fleet) -> NodeCache | None:
    where = fleet.serving.node_cache
    if where is None:
        return None
    told = f"{fleet.store.url}\n{fleet.store.options.endpoint or ''}"
    folder = hashlib.sha256(told.encode()).hexdigest()[:12]
    claim = where.removeprefix("pvc://") if where.startswith("pvc://") else None
    return NodeCache(None if claim else where, claim, folder)


def _volume(fleet: Fleet) -> StoreVolume:
    scheme, _, rest = fleet.store.url.partition("://")
    head, slash, below = rest.partition("/")
    inline = fleet.serving.volume == "inline"
    if scheme == "pvc":
        return StoreVolume(head, None, None, slash + below, "restricted")
    if scheme == "nfs" and not inline:
        return StoreVolume(f"{fleet.name}-models", head, f"/{below}", "", "restricted")
    if scheme == "nfs":
        return StoreVolume(None, head, f"/{below}", "", "baseline")
    if scheme == "file" and inline:
        return StoreVolume(None, None, rest, "", "privileged")
    if is_object_store(fleet.store.url):
        _check_authority(fleet)
        return StoreVolume(None, None, None, "", "restricted", fetched=True)
    raise UsageError(
        f"pods do not see the folder of a {scheme}:// store",
        where=f"{fleet.file}: store",
        hint="use pvc://CLAIM/PATH, nfs://HOST/PATH or s3://BUCKET/PREFIX; or, if every node has the folder, "
        "serving.volume: inline (against the Pod Security level restricted)",
    )


def _check_authority(fleet: Fleet) -> None:
    options = fleet.store.options
    if options.ca_file is not None and options.ca_config_map is None:
        raise UsageError(
            f"pods do not see {options.ca_file}",
            where=f"{fleet.file}: storeOptions.caFile",
            hint="hand it to them: kubectl create configmap store-ca --from-file=ca.crt="
            f"{shlex.quote(options.ca_file)}, and storeOptions.caConfigMap: store-ca beside it",
        )


def store_url(fleet: Fleet) -> str:
    """The store as agents in the fleet's pods see it."""
    volume = store_volume(fleet)
    return fleet.store.url if volume.fetched else f"file://{MODELS}{volume.folder}"

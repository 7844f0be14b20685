"""How the model store reaches the containers of a replica. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.render.containers import MODELS
from tfsdeploy.render.docker.container import HANDED, Mount, handed_volume, models_volume, state_volume
from tfsdeploy.render.quantities import bytes_of
from tfsdeploy.render.serving import store_flags

HANDED_CREDENTIALS = f"{HANDED}/credentials.json"
HANDED_AUTHORITY = f"{HANDED}/ca.pem"


@dataclass(frozen=True, slots=True)
class Models:
    """What a replica's containers see of the store.

    Attributes:
        url: the store as the agent sees it.
        mount: where the model server reads; the agent writes there if it fetches.
        flags: what the agent is told beside.
        handed: what only the agent sees.
    """

    url: str
    mount: Mount
    flags: Mapping[str, str] = field(default_factory=dict)
    handed: tuple[Mount, ...] = ()


def _own(fleet_name: str) -> tuple[str, ...]:
    return state_volume(fleet_name), models_volume(fleet_name), handed_volume(fleet_name)


def models(fleet: Fleet) -> Models:
    """How a fleet's store reaches its replicas.

    Raises:
        UsageError: containers cannot reach it.
    """
    scheme, _, rest = fleet.store.url.partition("://")
    options = fleet.store.options
    seen = replace(options, ca_file=None if options.ca_file is None else HANDED_AUTHORITY)
    flags = store_flags(replace(fleet.store, options=seen))
    if scheme == "file":
        return Models(f"file://{MODELS}", Mount("bind", rest, MODELS, read_only=True), flags)
    if scheme == "pvc":
        volume, slash, below = rest.partition("/")
        if volume in _own(fleet.name) or (volume.startswith(f"{fleet.name}-") and volume.endswith("-run")):
            hint = "copy the models into a volume of another name; `down` removes this one"
            raise UsageError(f"the volume {volume} is the fleet's own", where=f"{fleet.file}: store", hint=hint)
        mount = Mount("volume", volume, MODELS, read_only=True, made=False)
        return Models(f"file://{MODELS}{slash}{below}", mount, flags)
    if is_object_store(fleet.store.url):
        flags |= {"--models": MODELS, "--credentials": HANDED_CREDENTIALS}
        if fleet.serving.disk is not None:
            flags["--disk"] = str(int(bytes_of(fleet.serving.disk)))
        fetched = Mount("volume", models_volume(fleet.name), MODELS)
        handed = Mount("volume", handed_volume(fleet.name), HANDED, read_only=True)
        return Models(fleet.store.url, fetched, flags, (handed,))
    raise UsageError(
        f"containers do not mount a {scheme}:// store",
        where=f"{fleet.file}: store",
        hint="mount it on the Docker host, and write the folder there: file:///srv/models; or make a volume of it, "
        "and write pvc://VOLUME",
    )

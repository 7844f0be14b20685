"""A fleet as a Compose file and the files that it hands over: (path, text). Pure.

The same containers as those that `up` makes, by the same functions: commands know them by their labels.
"""

from __future__ import annotations

import hashlib
import json

from tfsdeploy.fleet.model import Fleet, to_plain
from tfsdeploy.render import templates
from tfsdeploy.render.docker import container as values
from tfsdeploy.render.docker.container import Container
from tfsdeploy.render.docker.containers import containers, keeper
from tfsdeploy.render.docker.shape import labels
from tfsdeploy.render.quantities import bytes_of

COMPOSE = "compose.yaml"

MARKER = "# Rendered by tfsdeploy from a fleet file: change that one, and render again.\n"
"""The first line of the Compose file: what has it, the next render may replace."""

GIVEN = "./given"


def docker_artefacts(fleet: Fleet) -> dict[str, str]:
    """The Compose file, and what its keeper hands over to the fleet: settings and pins.

    Returns:
        Path -> text, in the order of the paths; equal fleets give equal bytes.

    Raises:
        UsageError: containers cannot reach the fleet's store, or its ports are left open.
    """
    made = (keeper(fleet, GIVEN), *containers(fleet))
    mounts = {mount.source: mount.made for one in made for mount in one.mounts if mount.kind == "volume"}
    first = {(one.unit): one.name for one in reversed(made)}

    def depends(container: Container) -> list[str]:
        """What is made before it: a new volume takes after the agent's image, which is first in each unit."""
        before = [made[0].name, first[container.unit]]
        return [name for name in dict.fromkeys(before) if name != container.name]

    given = {
        f"{GIVEN[2:]}/pins.json": json.dumps(fleet.pins().to_json(), indent=1) + "\n",
        f"{GIVEN[2:]}/settings.json": json.dumps(_settings(fleet), indent=1) + "\n",
    }
    # Compose makes a container anew when what the file says of it has changed, and does not look into what it mounts.
    handed = {f"{values.LABEL}.given": "sha256:" + hashlib.sha256("".join(given.values()).encode()).hexdigest()}
    text = templates.render(
        "docker/compose.yaml.j2",
        name=fleet.name,
        network=values.network_name(fleet.name),
        ours={f"{values.LABEL}.fleet": fleet.name},
        volumes=dict(sorted(mounts.items())),
        containers=[(one, labels(fleet, one) | (handed if one is made[0] else {})) for one in made],
        depends=depends,
        health=values.HEALTH_SECONDS,
        user=values.USER,
        tmpfs=f"/tmp:{values.TMP}",
        log_options=values.LOG_OPTIONS,
    )
    return {COMPOSE: MARKER + text, **given}


def _settings(fleet: Fleet) -> dict[str, object]:
    """What `up` would remember of the fleet; see `targets.base.Settings`."""
    memory = fleet.serving.resources.memory
    return {
        "fleet": fleet.name,
        "target": "docker",
        "file": "",
        "store": fleet.store.url,
        "store_options": to_plain(fleet.store.options),
        "replicas": fleet.serving.replicas,
        "min_available": fleet.serving.min_available,
        "keep": fleet.serving.keep,
        "memory": None if memory is None else int(bytes_of(memory)),
    }

"""What a gateway agent keeps on disk, so that one that is started anew goes on where the one before it ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.files import replace_file
from tfsdeploy.gateway.table import Table
from tfsdeploy.protocol.agents import GatewayModel
from tfsdeploy.release.model import Release, decode, encode

FILE = "table.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """The last good release, what was effective, and what Envoy may be using.

    Attributes:
        release: the last one that could be followed; None before the first.
        models: what the last decision made of it.
        table: every cluster and replica that Envoy's configuration may name.
    """

    release: Release | None = None
    models: Mapping[str, GatewayModel] = field(default_factory=dict)
    table: Table = field(default_factory=Table)


def write(folder: Path, kept: Kept) -> None:
    """Replace what is kept by a rename; what a sudden loss of power takes is found out anew from the replicas."""
    plain = {
        "release": None if kept.release is None else encode(kept.release),
        "models": {name: [model.generation, _split(model.traffic)] for name, model in kept.models.items()},
        "table": kept.table.to_json(),
    }
    replace_file(folder / FILE, json.dumps(plain), lasting=False)


def read(folder: Path) -> Kept:
    """What was kept; nothing if it is not there or nonsense."""
    try:
        plain = json.loads((folder / FILE).read_bytes())
        models = {
            str(name): GatewayModel(int(generation), {int(version): int(share) for version, share in split.items()})
            for name, (generation, split) in plain["models"].items()
        }
        release = None if plain["release"] is None else decode(plain["release"])
        return Kept(release, models, Table.from_json(plain["table"]))
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, TfsdeployError) as error:
        log.warning("%s: %s; starting without it", folder / FILE, error)
        return Kept()


def _split(traffic: Mapping[int, int]) -> dict[str, int]:
    return {str(version): share for version, share in traffic.items()}

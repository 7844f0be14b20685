"""A fleet as artefacts, (path, text): what `up` would start here, for review and for version control; pure."""

from __future__ import annotations

import shlex
from pathlib import Path

from tfsdeploy.fleet.model import Fleet
from tfsdeploy.targets.local.shape import Place, files, processes
from tfsdeploy.targets.plan import Kind

KINDS: tuple[Kind, ...] = ("replica", "gateway")


def local_artefacts(fleet: Fleet) -> dict[str, str]:
    """The processes of one replica and one gateway, as shell commands, and the files that they are given.

    What only a living unit has stands as a word: NAME, /FLEET (its state folder), PORT.
    """
    found: dict[str, str] = {}
    for kind in KINDS:
        words = {"agent": "AGENT_PORT", "rest": "REST_PORT", "grpc": "GRPC_PORT"}
        place = Place("NAME", Path("/FLEET"), Path(f"/FLEET/{kind}s/NAME"), words)
        for process in processes(fleet, kind, place):
            variables = [f"{name}={shlex.quote(value)}" for name, value in process.env.items()]
            arguments = [shlex.quote(argument) for argument in process.argv]
            found[f"{kind}/{process.name}.sh"] = " \\\n  ".join([*variables, *arguments]) + "\n"
        for name, text in files(fleet, kind).items():
            found[f"{kind}/{name}"] = text
    return found

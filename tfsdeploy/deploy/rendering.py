"""Fleets as artefacts, (path, text): what `up` would start, for review and for version control; pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.render.docker.compose import GIVEN, docker_artefacts
from tfsdeploy.render.docker.compose import MARKER as DOCKER_MARKER
from tfsdeploy.render.kubernetes.artefacts import (
    KUSTOMIZATION,
    MARKER,
    kubernetes_artefacts,
    kustomization,
    namespace_of,
)
from tfsdeploy.render.kubernetes.volumes import LEVELS, Level, store_volume
from tfsdeploy.targets.local.shape import Place, files, processes
from tfsdeploy.targets.plan import Kind

_HOMES = f"*/*/{KUSTOMIZATION}"

KINDS: tuple[Kind, ...] = ("replica", "gateway")


@dataclass(frozen=True, slots=True)
class Rendered:
    """Fleets, rendered.

    Attributes:
        artefacts: path -> text, in the order of the paths.
        level: the Pod Security level that a namespace must allow; None where there are no pods.
        marker: the first line of every artefact that can have a comment, by which later renders know them; None if
            there is none.
        patterns: where a render with as many fleets puts files, as globs.
        others: what shows that a folder holds several fleets, which a render of one would cover, as a glob.
        mounted: the folder's name in which files are that containers read, as a user of their own.
    """

    artefacts: dict[str, str]
    level: Level | None = None
    marker: str | None = None
    patterns: tuple[str, ...] = ()
    others: str = ""
    mounted: str = ""

    def stream(self) -> str:
        """All artefacts as one text: YAML documents, or what they are under a heading each."""
        if not self.patterns:
            return "\n".join(f"# {path}\n{text}" for path, text in self.artefacts.items())
        return "---\n".join(text for path, text in self.artefacts.items() if path.rpartition("/")[2] != KUSTOMIZATION)


def render_local(fleets: Sequence[Fleet]) -> Rendered:
    """The processes of a replica and a gateway of each fleet; of several, in a folder of its name."""
    _refuse_twice([fleet.name for fleet in fleets], fleets)
    several = len(fleets) > 1
    return Rendered(
        {
            f"{fleet.name}/{path}" if several else path: text
            for fleet in fleets
            for path, text in local_artefacts(fleet).items()
        }
    )


def render_kubernetes(fleets: Sequence[Fleet], namespace: str | None = None) -> Rendered:
    """The objects of each fleet; of several, in ``NAMESPACE/NAME``, with one kustomization over all.

    Args:
        fleets: at least one.
        namespace: where they live, whatever their files say.

    Raises:
        UsageError: two fleets are one; or pods cannot reach a store.
    """
    homes = [f"{namespace_of(fleet, namespace)}/{fleet.name}" for fleet in fleets]
    _refuse_twice(homes, fleets)
    level = max((store_volume(fleet).level for fleet in fleets), key=LEVELS.index)
    if len(fleets) == 1:
        return Rendered(kubernetes_artefacts(fleets[0], namespace), level, MARKER, ("*.yaml",), _HOMES)
    artefacts = {KUSTOMIZATION: kustomization(sorted(homes))}
    for home, fleet in sorted(zip(homes, fleets, strict=True), key=lambda pair: pair[0]):
        artefacts |= {f"{home}/{path}": text for path, text in kubernetes_artefacts(fleet, namespace).items()}
    return Rendered(artefacts, level, MARKER, ("*.yaml", "*/*/*.yaml"))


def home_below(folder: Path, fleet: Fleet, namespace: str | None = None) -> Path:
    """Where a fleet's objects are in a folder: below it if several fleets were rendered there, as `_HOMES` says."""
    home = folder / namespace_of(fleet, namespace) / fleet.name
    return home if (home / KUSTOMIZATION).exists() else folder


def render_docker(fleets: Sequence[Fleet]) -> Rendered:
    """A Compose file of each fleet, and what it hands over; of several, in a folder of its name.

    Raises:
        UsageError: two fleets are one; or containers cannot reach a store.
    """
    _refuse_twice([fleet.name for fleet in fleets], fleets)
    several = len(fleets) > 1
    found = {f"{fleet.name}/" if several else "": docker_artefacts(fleet) for fleet in fleets}
    artefacts = {folder + path: text for folder, texts in found.items() for path, text in texts.items()}
    return Rendered(artefacts, marker=DOCKER_MARKER, mounted=GIVEN[2:])


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


def _refuse_twice(names: Sequence[str], fleets: Sequence[Fleet]) -> None:
    files_of: dict[str, Path] = {}
    for name, fleet in zip(names, fleets, strict=True):
        if name in files_of:
            raise UsageError(f"the fleet {name} is already that of {files_of[name]}", where=str(fleet.file))
        files_of[name] = fleet.file

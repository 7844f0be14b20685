"""`tfsdeploy agent state`: a fleet's state in a volume, as commands outside reach it through a container."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_FOLDER = click.option("--folder", type=click.Path(path_type=Path), required=True, help="The fleet's state.")


@click.group("state")
def command() -> None:
    """Keep, read and write a fleet's state where only containers see it. Commands run this in a container."""


@command.command("keep")
@_FOLDER
@click.option("--fleet", required=True, help="The fleet's name.")
@click.option("--given", type=click.Path(path_type=Path), help="Settings and pins of a rendered folder.")
def keep(folder: Path, fleet: str, given: Path | None) -> None:
    """Hold the volume at hand until SIGTERM."""
    from tfsdeploy.agent import state

    state.keep(folder, fleet, given)


@command.command("serve")
@_FOLDER
@click.option("--handed", type=click.Path(path_type=Path), required=True, help="For what opens the store.")
def serve(folder: Path, handed: Path) -> None:
    """Answer requests that come as JSON documents, a line each, until the input ends."""
    from tfsdeploy.agent import state

    state.serve(folder, handed, sys.stdin.buffer, sys.stdout.buffer)


@command.command("hold")
@_FOLDER
@click.option("--who", required=True, help="For others who want it.")
def hold(folder: Path, who: str) -> None:
    """Hold the lock on the shape until the input ends; exit 5 if somebody else has it."""
    from tfsdeploy.agent import state

    state.hold(folder, who, sys.stdin.buffer)


@command.command("pipe")
@click.option("--to", required=True, help="host:port, as this container reaches it.")
def pipe(to: str) -> None:
    """Lend a connection to whoever started this: input and output are its two ways."""
    from tfsdeploy.agent import state

    state.pipe(to, sys.stdin.fileno(), sys.stdout.fileno())

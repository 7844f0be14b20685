"""`tfsdeploy validate`: every problem of a fleet file at once."""

from __future__ import annotations

from dataclasses import asdict

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.deploy.words import count
from tfsdeploy.errors import InvalidFile


@declare(
    "validate",
    examples=("tfsdeploy validate", "tfsdeploy validate -f fleets/shop.yaml -o json"),
    exits=(0, 2),
    fields=("file", "fleet", "target", "models", "problems"),
)
@fleet_options()
def command(call: Call) -> None:
    """Check a fleet file and tell every problem in it, with its place."""
    call.answer.know(file=str(call.path))
    try:
        fleet = call.fleet
    except InvalidFile as error:
        call.answer.know(problems=[asdict(problem) for problem in error.problems])
        raise
    call.answer.give({"fleet": fleet.name, "target": fleet.target, "models": list(fleet.models), "problems": []})
    if not call.answer.json:
        click.echo(f"{call.path}: fleet {fleet.name} is valid ({count(len(fleet.models), 'model')})")

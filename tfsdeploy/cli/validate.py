"""`tfsdeploy validate`: every problem of a fleet file at once."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options


@declare(
    "validate",
    examples=("tfsdeploy validate", "tfsdeploy validate -f fleets/shop.yaml -o json"),
    exits=(0, 2),
    fields=("file", "fleet", "target", "models"),
)
@fleet_options()
def command(call: Call) -> None:
    """Check a fleet file and tell every problem in it, with its place."""
    call.answer.know(file=str(call.path))
    fleet = call.fleet
    call.answer.give({"fleet": fleet.name, "target": fleet.target, "models": list(fleet.models)})
    if not call.answer.json:
        models = len(fleet.models)
        click.echo(f"{call.path}: fleet {fleet.name} is valid ({models} model{'' if models == 1 else 's'})")

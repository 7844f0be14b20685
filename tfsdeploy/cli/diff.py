"""`tfsdeploy diff`: what `up` would change, and why."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.cli.picture import BAD, BUSY, GOOD, painted

COLOURS = {"create": GOOD, "start": GOOD, "remove": BAD}
"""Of a line, by what it does; everything else changes what stays."""


@declare(
    "diff",
    examples=("tfsdeploy diff", "tfsdeploy diff -o json"),
    exits=(0, 1, 2, 3, 5),
    fields=("fleet", "target", "owner", "changes", "stays"),
)
@fleet_options()
def command(call: Call) -> int:
    """Show what `up` would change, with the reason of each change, and what it would leave although the file says
    otherwise; exit 3 if there is something.
    """
    from tfsdeploy.cli.stores import of_file, warn_of_pins
    from tfsdeploy.deploy.pipeline import differences
    from tfsdeploy.errors import ChangesPending

    fleet, target = call.fleet, call.target
    call.answer.know(fleet=fleet.name, target=target.kind)
    store = of_file(call)
    found = differences(fleet, target, store)
    warn_of_pins(call, store)
    settings = target.settings()
    owner = settings.owner if settings is not None else ""
    call.answer.give({"owner": owner or None, "changes": list(found.changes), "stays": list(found.stays)})
    lines = (*found.changes, *found.stays)
    if not call.answer.json:
        if owner and found.changes:
            click.echo(f"the shape of fleet {fleet.name} is owned by {owner}, which changes it instead of `up`")
        for line in lines:
            click.echo(painted(line, COLOURS.get(line.split(" ", 1)[0], BUSY)))
        if not lines:
            click.echo(f"fleet {fleet.name} is as {call.path} says")
    return ChangesPending.exit_code if lines else 0

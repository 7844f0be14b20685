"""`tfsdeploy diff`: what `up` would change, and why."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options


@declare(
    "diff",
    examples=("tfsdeploy diff", "tfsdeploy diff -o json"),
    exits=(0, 1, 2, 3, 5),
    fields=("fleet", "target", "changes"),
)
@fleet_options()
def command(call: Call) -> int:
    """Show what `up` would change, with the reason of each change; exit 3 if there is something."""
    from tfsdeploy.cli.stores import committed
    from tfsdeploy.deploy.pipeline import diff
    from tfsdeploy.errors import ChangesPending

    fleet, target = call.fleet, call.target
    call.answer.know(fleet=fleet.name, target=target.kind)
    changes = diff(fleet, target, committed(fleet))
    call.answer.give({"changes": list(changes)})
    if not call.answer.json:
        click.echo("\n".join(changes) if changes else f"fleet {fleet.name} is as {call.path} says")
    return ChangesPending.exit_code if changes else 0

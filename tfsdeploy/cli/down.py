"""`tfsdeploy down`: the end of a fleet; the store stays."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options


@declare(
    "down",
    examples=("tfsdeploy down", "tfsdeploy down --fleet shop --yes"),
    exits=(0, 1, 2, 5, 130),
    fields=("fleet", "target", "removed"),
)
@fleet_options(by_name=True, timeout=60.0, yes="End the fleet without asking.")
def command(call: Call) -> None:
    """End every process of the fleet and remove its state; the store stays as it is.

    Requests on their way are answered first.
    """
    target = call.target
    call.answer.know(fleet=target.fleet, target=target.kind)
    settings = target.settings()
    there = settings is not None
    if settings is not None:
        call.check_owner(settings)
        call.agree(f"End fleet {target.fleet} and forget its release history?")
    # Also without settings: what an `up` that was killed has left goes too.
    target.remove(call.report, timeout=call.timeout)
    call.report.clear()
    call.answer.give({"removed": there})
    if not call.answer.json:
        click.echo(f"fleet {target.fleet} is gone; its store was left alone" if there else "nothing was there")

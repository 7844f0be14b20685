"""`tfsdeploy logs [NAME …]`: what replicas, gateways and their agents wrote."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import Interrupted


@declare(
    "logs",
    examples=(
        "tfsdeploy logs",
        "tfsdeploy logs shop-serving-1 --follow",
        "tfsdeploy logs shop-gateway-1.envoy --tail 200",
    ),
    exits=(0, 1, 2, 130),
    fields=("fleet", "lines"),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--tail", type=click.IntRange(min=0), default=50, show_default=True, metavar="LINES", help="Older lines.")
@fleet_options(by_name=True)
def command(call: Call, names: tuple[str, ...], follow: bool, tail: int) -> int:
    """Show what the named replicas and gateways wrote; all of them if none is named.

    With --follow -o json each line is a document of its own.
    """
    fleet = call.settings.fleet
    call.answer.know(fleet=fleet)
    lines = call.target.logs(names, follow=follow, tail=tail)
    if call.answer.json and not follow:
        call.answer.give({"lines": list(lines)})
        return 0
    try:
        for line in lines:
            if call.answer.json:
                call.answer.give({"lines": [line]})
            else:
                click.echo(line)
    except KeyboardInterrupt:
        if not follow:
            raise
        # That is how --follow ends: not a failure, so nothing is said about it.
        return Interrupted.exit_code
    return 0

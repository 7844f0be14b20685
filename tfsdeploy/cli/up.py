"""`tfsdeploy up`: the fleet as its file says."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import Interrupted


@declare(
    "up",
    examples=("tfsdeploy up", "tfsdeploy up -f fleets/shop.yaml --timeout 600", "tfsdeploy up --enforce-pins"),
    exits=(0, 1, 2, 5, 130),
    fields=("fleet", "target", "generation", "changes", "warnings", "gateways"),
)
@click.option("--enforce-pins", is_flag=True, help="Go back to the file's pins where something else is live.")
@fleet_options(timeout=300.0)
def command(call: Call, enforce_pins: bool) -> None:
    """Make the fleet as its file says, one replica or gateway at a time, without dropping a request.

    Run again it changes only what differs. --timeout is for each single step.
    """
    from tfsdeploy.cli.stores import of_file, remembering, warn_of_pins
    from tfsdeploy.deploy.pipeline import up
    from tfsdeploy.deploy.words import count

    fleet, target = call.fleet, call.target
    call.answer.know(fleet=fleet.name, target=target.kind)
    store = of_file(call)
    try:
        warn_of_pins(call, store)
        done = up(fleet, remembering(call), store, call.report, enforce_pins=enforce_pins, timeout=call.timeout)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; what of fleet {fleet.name} is up stays up",
            hint="the same command continues; `tfsdeploy down` takes everything away",
        ) from None
    call.report.clear()
    gateways = [{"name": gateway.name, "rest": gateway.rest, "grpc": gateway.grpc} for gateway in done.gateways]
    call.answer.give(
        {
            "generation": done.generation,
            "changes": list(done.changes),
            "warnings": list(done.warnings),
            "gateways": gateways,
        }
    )
    if not call.answer.json:
        words = count(len(done.changes), "change") if done.changes else "nothing to change"
        click.echo(f"fleet {done.fleet} is up at generation {done.generation}: {words}")
        for address in dict.fromkeys((gateway.rest, gateway.grpc) for gateway in done.gateways):
            click.echo(f"  REST {address[0]}   gRPC {address[1]}")

"""`tfsdeploy status`: gateways, replicas, versions and traffic; `--watch` keeps it on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options

if TYPE_CHECKING:
    from tfsdeploy.deploy.watch import View
    from tfsdeploy.targets.base import Settings

FIELDS = (
    "fleet",
    "target",
    "owner",
    "generation",
    "healthy",
    "troubles",
    "stays",
    "waiting",
    "gateways",
    "replicas",
    "models",
)


@declare(
    "status",
    examples=("tfsdeploy status", "tfsdeploy status --watch", "tfsdeploy status --fleet shop -o json"),
    exits=(0, 1, 2, 130),
    fields=FIELDS,
)
@click.option("--watch", is_flag=True, help="Show it live until Ctrl-C; with -o json one document a line.")
@click.option(
    "--interval", type=words.span, default="1s", show_default=True, metavar="TIME",
    help="How often --watch shows it anew.",
)  # fmt: skip
@fleet_options(by_name=True)
def command(call: Call, watch: bool, interval: float) -> int:
    """Show gateways, replicas, versions and traffic; exit 1 if the fleet is not healthy."""
    from tfsdeploy.deploy.watch import SILENT_SECONDS, Watch

    settings, target = call.settings, call.target
    if watch:
        from tfsdeploy.cli.live import watch_status

        return watch_status(call, settings, interval)
    with Watch(target) as watched:
        view = watched.until(lambda view: view.heard, SILENT_SECONDS + 0.5)
        shown = document(call, settings, view)
    if call.answer.json:
        call.answer.give(shown)
    else:
        from tfsdeploy.cli.picture import status_text

        click.echo(status_text(shown), nl=False)
    return 0 if shown["healthy"] else 1


def document(call: Call, settings: Settings, view: View) -> dict[str, Any]:
    """What `status` answers of this moment."""
    from tfsdeploy.deploy.status import status_document
    from tfsdeploy.targets.base import seen_by_clients

    target = call.target
    named = () if call.named is not None else tuple(call.fleet.models)
    release, pins = target.releases().read(), target.pins()
    return status_document(settings, release, view, seen_by_clients(target), target.troubles(), named, pins)

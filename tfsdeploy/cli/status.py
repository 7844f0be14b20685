"""`tfsdeploy status`: gateways, replicas, versions and traffic; `--watch` keeps it on the screen."""

from __future__ import annotations

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options

FIELDS = ("fleet", "target", "generation", "healthy", "troubles", "gateways", "replicas", "models")


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
    from tfsdeploy.deploy.status import status_document
    from tfsdeploy.deploy.watch import SILENT_SECONDS, Watch

    settings, target = call.settings, call.target
    if watch:
        from tfsdeploy.cli.live import watch_status

        return watch_status(call, settings, interval)
    with Watch(target) as watched:
        view = watched.until(lambda view: view.heard, SILENT_SECONDS + 0.5)
        release = target.releases().read()
        document = status_document(settings, release, view, target.gateways(), target.troubles())
    if call.answer.json:
        call.answer.give(document)
    else:
        from tfsdeploy.cli.picture import status_text

        click.echo(status_text(document), nl=False)
    return 0 if document["healthy"] else 1

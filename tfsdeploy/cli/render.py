"""`tfsdeploy render`: what `up` would start, as files for review and for version control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, remember_output
from tfsdeploy.errors import UsageError

if TYPE_CHECKING:
    from tfsdeploy.fleet.model import Fleet


@declare(
    "render",
    examples=(
        "tfsdeploy render",
        "tfsdeploy render -t docker -o deploy",
        "tfsdeploy render -t kubernetes -o deploy",
        "tfsdeploy render -t kubernetes -o - | kubectl apply --server-side -f -",
        "tfsdeploy render -t kubernetes -o deploy fleets/*.yaml",
    ),
    fields=("fleet", "target", "podSecurity", "artefacts"),
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]...")
@click.option(
    "-o", "--output", "--out", default="text", show_default=True, callback=remember_output, metavar="text|json|-|DIR",
    help="Print text, JSON, or (-) a stream of YAML documents; or write files into DIR, and remove those that an "
    "earlier render left there.",
)  # fmt: skip
@fleet_options(output=False)
def command(call: Call, files: tuple[Path, ...], output: str) -> None:
    """Show what `up` would start, of one fleet or of many: processes and files, a Compose file, Kubernetes objects.

    Only the shape: which versions are served stands in the release, and is never rendered.
    """
    from tfsdeploy.deploy.rendering import render_docker, render_kubernetes, render_local

    fleets = _fleets(call, files)
    target = _target(call, fleets)
    if target == "kubernetes":
        rendered = render_kubernetes(fleets, call.namespace)
    else:
        call.check_local()
        rendered = render_docker(fleets) if target == "docker" else render_local(fleets)
    if rendered.level not in (None, "restricted"):
        why = "a volume is inline or a folder of the node"
        call.report.warn(f"the namespace must allow the Pod Security level {rendered.level}: {why}")
    if call.answer.json:
        rows = [{"path": path, "text": text} for path, text in rendered.artefacts.items()]
        name = fleets[0].name if len(fleets) == 1 else None
        call.answer.give({"fleet": name, "target": target, "podSecurity": rendered.level, "artefacts": rows})
    elif output in ("text", "-"):
        # The same bytes wherever it runs, whatever the locale's encoding.
        click.echo(rendered.stream().encode(), nl=False)
    else:
        from tfsdeploy.deploy.artefacts_folder import write_artefacts

        done = write_artefacts(
            Path(output),
            rendered.artefacts,
            marker=rendered.marker,
            patterns=rendered.patterns,
            others=rendered.others,
            mounted=rendered.mounted,
        )
        click.echo(f"{output}: {done.files} files, {done.changed} of them changed; {done.removed} removed")


def _fleets(call: Call, files: tuple[Path, ...]) -> list[Fleet]:
    from tfsdeploy.fleet.load import load_fleet

    if not files:
        return [call.fleet]
    return [load_fleet(file) for file in (*([call.file] if call.file else ()), *files)]


def _target(call: Call, fleets: list[Fleet]) -> str:
    """Where the fleets live, which must be one kind of place."""
    if call.kind is not None:
        return call.kind
    kinds = {fleet.target: fleet.file for fleet in fleets}
    if len(kinds) > 1:
        raise UsageError(f"these fleets live in different places: {', '.join(sorted(kinds))}", hint="choose with -t")
    return next(iter(kinds))

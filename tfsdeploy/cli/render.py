"""`tfsdeploy render`: what `up` would start, as files for review."""

from __future__ import annotations

from pathlib import Path

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import TfsdeployError


@declare(
    "render",
    examples=("tfsdeploy render", "tfsdeploy render --out rendered"),
    fields=("fleet", "target", "artefacts"),
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write files into DIR.")
@fleet_options()
def command(call: Call, out: Path | None) -> None:
    """Show what `up` would start: the processes of a replica and of a gateway, and the files that they are given.

    Only the shape: which versions are served stands in the release, and is never rendered.
    """
    from tfsdeploy.deploy.rendering import local_artefacts

    fleet = call.fleet
    artefacts = local_artefacts(fleet)
    if out is not None:
        _write(out, artefacts)
    rows = [{"path": path, "text": text} for path, text in artefacts.items()]
    call.answer.give({"fleet": fleet.name, "target": "local", "artefacts": rows})
    if not call.answer.json:
        for path, text in artefacts.items():
            click.echo(str(out / path) if out is not None else f"# {path}\n{text}")


def _write(out: Path, artefacts: dict[str, str]) -> None:
    try:
        for path, text in artefacts.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(text)
    except OSError as error:
        raise TfsdeployError(f"cannot be written: {error.strerror}", where=str(error.filename or out)) from error

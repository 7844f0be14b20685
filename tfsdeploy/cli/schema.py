"""`tfsdeploy schema`: the JSON Schema of fleet files."""

from __future__ import annotations

import json

import click

from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import output_option


@declare(
    "schema",
    examples=(
        "tfsdeploy schema > fleet.schema.json",
        "# then, as the first line of fleet.yaml: # yaml-language-server: $schema=fleet.schema.json",
    ),
    exits=(0, 2),
)
@output_option
def command(output: str) -> None:
    """Print the JSON Schema of fleet files, for completion and checks in editors; with -o json in one line."""
    from tfsdeploy.fleet.grammar import schema

    click.echo(json.dumps(schema(), indent=2 if output == "text" else None))

"""`tfsdeploy schema`: the JSON Schema of fleet files."""

from __future__ import annotations

import json

import click

from tfsdeploy.cli.command import command as declare


@declare(
    "schema",
    examples=(
        "tfsdeploy schema > fleet.schema.json",
        "# then, as the first line of fleet.yaml: # yaml-language-server: $schema=fleet.schema.json",
    ),
    exits=(0,),
)
def command() -> None:
    """Print the JSON Schema of fleet files, for completion and checks in editors."""
    from tfsdeploy.fleet.grammar import schema

    click.echo(json.dumps(schema(), indent=2))

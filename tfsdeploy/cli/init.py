"""`tfsdeploy init [NAME]`: a commented fleet file, and a small example model that is served at once."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tfsdeploy.cli.answer import Answer
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import output_option
from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.names import is_fleet_name

NEXT = "half_plus_three"
"""The SavedModel that lies ready to be pushed: its answers differ, so a promote can be seen."""


@declare(
    "init",
    examples=(
        "tfsdeploy init shop && cd shop && tfsdeploy up",
        "tfsdeploy init                            # here, named like this folder",
        "tfsdeploy init shop --replicas 3 --free-ports",
    ),
    fields=("fleet", "file", "store", "model", "next"),
)
@click.argument("name", required=False)
@click.option("--replicas", type=click.IntRange(1, 100), default=2, show_default=True, help="Model servers.")
@click.option("--free-ports", is_flag=True, help="Let `up` find free ports; `status` shows them.")
@output_option
@click.pass_obj
def command(answer: Answer, name: str | None, replicas: int, free_ports: bool, output: str) -> None:
    """Start a fleet: a commented fleet.yaml, and a store with a small model, half_plus_two.

    Beside them lies half_plus_three, a SavedModel that can be pushed as the model's second version.

    With NAME in a new folder of that name, without it in this one. Nothing that is there is overwritten.
    """
    from tfsdeploy.fleet.load import parse_fleet
    from tfsdeploy.fleet.starter import STARTER_MODEL, starter_text
    from tfsdeploy.store.example import write_example
    from tfsdeploy.store.store import open_store

    folder = Path() if name is None else Path(name)
    fleet_name = _name_of_this_folder() if name is None else name
    if not is_fleet_name(fleet_name):
        raise UsageError(
            f"{fleet_name!r} cannot be a fleet's name",
            hint="lower-case letters, digits and -, at most 40 characters: tfsdeploy init NAME",
        )
    file = folder / "fleet.yaml"
    if os.path.lexists(file):
        hint = "`tfsdeploy up` starts its fleet; `tfsdeploy init NAME` makes another one, in a folder of its own"
        raise UsageError("there is a fleet file already; nothing was changed", where=str(file), hint=hint)
    text = starter_text(fleet_name)
    text = text.replace("replicas: 2 ", f"replicas: {replicas} ", 1)
    if free_ports:
        text = text.replace("rest: 8501", "rest: 0").replace("grpc: 8500", "grpc: 0")
    fleet = parse_fleet(text, str(file))
    try:
        folder.mkdir(exist_ok=True)
        store = open_store(fleet.store.url)
        with TemporaryDirectory() as temporary:
            example = Path(temporary) / STARTER_MODEL
            write_example(example)
            if not store.versions(STARTER_MODEL):
                store.publish(STARTER_MODEL, example, 1)
        if not (folder / NEXT).exists():
            write_example(folder / NEXT, offset=3.0)
        file.write_text(text)
    except OSError as error:
        raise TfsdeployError(f"cannot be written: {error.strerror}", where=str(error.filename or folder)) from error
    answer.give(
        {
            "fleet": fleet_name,
            "file": str(file),
            "store": store.url,
            "model": STARTER_MODEL,
            "next": str(folder / NEXT),
        }
    )
    if not answer.json:
        click.echo(f"{file} and {STARTER_MODEL} version 1 are there. Next:")
        click.echo(f"  {f'cd {folder} && ' if name else ''}tfsdeploy up")
        click.echo(f"""  tfsdeploy predict {STARTER_MODEL} '{{"instances": [1.0, 2.0, 5.0]}}'""")
        click.echo(f"  tfsdeploy push {STARTER_MODEL} {NEXT} && tfsdeploy promote {STARTER_MODEL} 2")


def _name_of_this_folder() -> str:
    try:
        return Path.cwd().name
    except OSError as error:
        raise UsageError(f"this folder cannot be used: {error.strerror}", hint="go to another folder") from error

"""`tfsdeploy push MODEL DIR`: publish a SavedModel as a version."""

from __future__ import annotations

from pathlib import Path

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument


@declare(
    "push",
    examples=("tfsdeploy push ranker ./export/ranker", "tfsdeploy push ranker ./export/ranker --version 8"),
    exits=(0, 1, 2, 5, 130),
    fields=("model", "version", "digest", "bytes", "store"),
)
@model_argument
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--version",
    type=words.version_or_auto,
    metavar="VERSION",
    help="Its number, or `auto`: the next one.  [default: auto]",
)
@fleet_options(by_name=True)
def command(call: Call, model: str, folder: Path, version: int | None) -> None:
    """Publish the SavedModel in DIR as a version of MODEL.

    The version exists, whole and recorded, or not at all. Its number never stands for other bytes: one that is taken
    is refused (exit 5). The next number is higher than any that the store holds or the fleet's history remembers.
    """
    from tfsdeploy.cli.stores import highest_known, models_of

    store = models_of(call).store
    call.answer.know(model=model, version=version, store=store.url)
    record, was_there = store.publish(
        model,
        folder,
        version,
        lambda done, total: call.report.progress(model, done, total),
        above=highest_known(call, model) if version is None else 0,
    )
    call.report.clear()
    call.answer.give({"version": record.version, "digest": record.digest, "bytes": record.bytes})
    if not call.answer.json:
        did = "is there already, with the same bytes" if was_there else "is published"
        click.echo(f"{model} {record.version} {did} ({record.bytes} bytes, {record.digest[:19]}…)")

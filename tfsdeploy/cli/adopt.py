"""`tfsdeploy adopt MODEL VERSION`: a commit record for what another tool put into the store."""

from __future__ import annotations

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument, version_argument


@declare(
    "adopt",
    examples=("tfsdeploy adopt ranker 7",),
    exits=(0, 1, 2, 130),
    fields=("model", "version", "digest", "bytes", "store"),
)
@model_argument
@version_argument
@fleet_options(by_name=True)
def command(call: Call, model: str, version: int) -> None:
    """Give a commit record to a version of MODEL that another tool put into the store.

    Only then does it exist for `promote` and `up`. It must be complete, and must not change any more.
    """
    from tfsdeploy.cli.stores import known_model, models_of

    stored = models_of(call)
    call.answer.know(model=model, version=version, store=stored.store.url)
    known_model(stored, model)
    record, was_there = stored.store.adopt(model, version, lambda done, total: call.report.progress(model, done, total))
    call.report.clear()
    call.answer.give({"digest": record.digest, "bytes": record.bytes})
    if not call.answer.json:
        did = "had its record already" if was_there else "is adopted"
        click.echo(f"{model} {version} {did} ({record.bytes} bytes, {record.digest[:19]}…)")

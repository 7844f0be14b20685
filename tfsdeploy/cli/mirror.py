"""`tfsdeploy mirror`: versions with their records, from the fleet's store to another one."""

from __future__ import annotations

from functools import partial

import click

from tfsdeploy.cli import complete, words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options


@declare(
    "mirror",
    examples=(
        "tfsdeploy mirror s3://models-elsewhere/prod",
        "tfsdeploy mirror file:///mnt/backup/models ranker",
        "tfsdeploy mirror s3://models/prod ranker 8 --endpoint https://s3.example.org",
    ),
    exits=(0, 1, 2, 5, 130),
    fields=("from", "to", "versions"),
)
@click.argument("to", metavar="URL")
@click.argument("model", required=False, shell_complete=complete.models)
@click.argument("version", type=words.version, required=False, shell_complete=complete.versions)
@click.option("--endpoint", metavar="URL", help="Of the other store, if it is not the provider's own.")
@click.option("--region", metavar="NAME", help="Of the other store's bucket.")
@fleet_options(by_name=True)
def command(
    call: Call, to: str, model: str | None, version: int | None, endpoint: str | None, region: str | None
) -> None:
    """Copy the store's versions, MODEL's, or one, to another store, with the records they have.

    What is there already with the same bytes is left alone, so the command can be run again and again. Credentials come
    from the environment, the same for both stores.
    """
    from tfsdeploy.cli.stores import asked, models_of
    from tfsdeploy.deploy.stores import StoredModels
    from tfsdeploy.deploy.words import count
    from tfsdeploy.store.mirror import mirror

    here = models_of(call)
    options = {name: value for name, value in (("endpoint", endpoint), ("region", region)) if value}
    there = StoredModels(to.rstrip("/"), options)
    call.answer.know(**{"from": here.url, "to": there.url})
    rows = []
    for name, number in asked(here, model, version):
        progress = partial(call.report.progress, f"{name} {number}")
        record, already = mirror(here.store, there.store, name, number, progress)
        rows.append({"model": name, "version": number, "bytes": record.bytes, "already": already})
    call.report.clear()
    call.answer.give({"versions": rows})
    if not call.answer.json:
        new = [row for row in rows if not row["already"]]
        click.echo(f"{count(len(new), 'version')} copied to {there.url}, {len(rows) - len(new)} there before")

"""`tfsdeploy gc`: versions that no fleet needs leave the store."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli import complete
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import Interrupted

if TYPE_CHECKING:
    from tfsdeploy.store.gc import Row


@declare(
    "gc",
    examples=(
        "tfsdeploy gc                                                 # what would go",
        "tfsdeploy gc --yes                                           # mark; a later run sweeps what is marked",
        "tfsdeploy gc ranker --keep 10 -o json",
    ),
    exits=(0, 1, 2, 5, 130),
    fields=("store", "done", "fleets", "versions"),
)
@click.argument("model", required=False, shell_complete=complete.models)
@click.option(
    "--keep", type=click.IntRange(min=1), default=3, show_default=True, help="How many of the newest versions stay."
)
@click.option("--yes", "act", is_flag=True, help="Do it; without, it is only told.")
@fleet_options(by_name=True)
def command(call: Call, model: str | None, keep: int, act: bool) -> None:
    """Remove the versions of the store, or of MODEL, that no fleet needs.

    What a fleet serves, holds, or has in its history stays, of every fleet that uses this store; so do the newest
    versions, and whatever came to the store in the last 7 days. The first run with --yes marks what may go, a later one
    removes what is marked and still not needed. Interrupted at any point, the store reads well.
    """
    from tfsdeploy.cli.stores import known_model, models_of
    from tfsdeploy.deploy.collecting import needed
    from tfsdeploy.deploy.words import count

    stored = models_of(call)
    call.answer.know(store=stored.url, done=act)
    if model is not None:
        known_model(stored, model)
    known = needed(stored, call.target)
    call.answer.know(fleets=sorted(known))
    at_hand = known.get(call.target.fleet, {})
    models = [model] if model is not None else stored.models()
    rows: list[Row] = []
    try:
        for row in stored.collect(models, keep=keep, act=act, also=at_hand):
            rows.append(row)
            call.report.waiting(f"{row.model} {row.version}")
            if not call.answer.json:
                would = "" if act else "would "
                click.echo(
                    f"{would}{row.done:5}  {row.model} {row.version}  {row.bytes} bytes, of {row.committed or '-'}"
                )
    except KeyboardInterrupt:
        gone = count(sum(row.done == "sweep" for row in rows if act), "version")
        hint = "the store reads well; the same command goes on"
        raise Interrupted(f"interrupted, {gone} removed before", where=stored.url, hint=hint) from None
    finally:
        # Also if it ends early, it says how far it came; the marks of a model are written behind its last row.
        call.answer.know(versions=[asdict(row) for row in rows if not act or row.done == "sweep"])
    call.report.clear()
    call.answer.give({"versions": [asdict(row) for row in rows]})
    if call.answer.json:
        return
    swept = sum(row.bytes for row in rows if row.done == "sweep")
    click.echo(f"{count(len(rows), 'version')} not needed by {', '.join(sorted(known))}; {swept} bytes to be freed now")
    if rows and not act:
        click.echo("nothing was changed; --yes marks, and sweeps what was marked before")

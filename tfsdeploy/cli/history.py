"""`tfsdeploy history`: who changed what, when and why."""

from __future__ import annotations

from typing import Any

import click

from tfsdeploy.cli import complete
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.errors import UsageError


@declare(
    "history",
    examples=(
        "tfsdeploy history",
        "tfsdeploy history --model ranker --limit 5",
        "tfsdeploy history --fleet shop -o json",
    ),
    fields=("fleet", "history"),
)
@click.option("--model", metavar="NAME", shell_complete=complete.models, help="Only changes of this model.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@fleet_options(by_name=True)
def command(call: Call, model: str | None, limit: int | None) -> None:
    """Show who changed what, when and why, newest first.

    The last 50 generations are kept.
    """
    from tfsdeploy.deploy.changes import change_log

    fleet = call.settings.fleet
    releases = call.target.releases()
    rows = change_log(releases.read(), releases.history())
    if model is not None:
        known = sorted({name for row in rows for name in row["models"]})
        rows = [row for row in rows if model in row["models"]]
        if not rows:
            raise UsageError(
                f"no change of a model {model!r} is remembered",
                hint=f"changes are known of: {', '.join(known) or 'none'}",
            )
    if call.answer.json:
        call.answer.give({"fleet": fleet, "history": rows[:limit]})
        return
    for row in rows[:limit]:
        click.echo("\n".join(_lines(row)))


def _lines(row: dict[str, Any]) -> list[str]:
    why = f"  ({row['why']})" if row["why"] else ""
    head = f"{row['generation']:>5}  {row['when'][:19].replace('T', ' ')}  {row['who']}  {row['command']}{why}"
    return [head, *(f"       {name}: {'; '.join(change)}" for name, change in row["models"].items() if change)]

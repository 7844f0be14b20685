"""`tfsdeploy history`: who changed what, when and why."""

from __future__ import annotations

from typing import Any

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options


@declare(
    "history",
    examples=(
        "tfsdeploy history",
        "tfsdeploy history --model ranker --limit 5",
        "tfsdeploy history --fleet shop -o json",
    ),
    fields=("fleet", "history"),
)
@click.option("--model", metavar="NAME", help="Only changes of this model.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@fleet_options(by_name=True)
def command(call: Call, model: str | None, limit: int | None) -> None:
    """Show who changed what, when and why, newest first.

    The last 50 generations are kept.
    """
    from tfsdeploy.deploy.changes import change_log

    fleet = call.settings.fleet
    releases = call.target.releases()
    rows = [row for row in change_log(releases.read(), releases.history()) if model is None or model in row["models"]]
    if call.answer.json:
        call.answer.give({"fleet": fleet, "history": rows[:limit]})
        return
    for row in rows[:limit]:
        click.echo("\n".join(_lines(row)))


def _lines(row: dict[str, Any]) -> list[str]:
    why = f"  ({row['why']})" if row["why"] else ""
    head = f"{row['generation']:>5}  {row['when'][:19].replace('T', ' ')}  {row['who']}  {row['command']}{why}"
    return [head, *(f"       {name}: {'; '.join(change)}" for name, change in row["models"].items() if change)]

"""`tfsdeploy validate`: every problem of a fleet file at once; with `--store` also of what it pins."""

from __future__ import annotations

from dataclasses import asdict

import click

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options
from tfsdeploy.deploy.words import count
from tfsdeploy.errors import InvalidFile, Problem, TfsdeployError


@declare(
    "validate",
    examples=(
        "tfsdeploy validate",
        "tfsdeploy validate -f fleets/shop.yaml -o json",
        "tfsdeploy validate --store                       # in CI, before a commit changes pins",
    ),
    exits=(0, 1, 2, 5),
    fields=("file", "fleet", "target", "models", "problems"),
)
@click.option("--store", "look", is_flag=True, help="Also look at the versions that it pins, in the store.")
@fleet_options()
def command(call: Call, look: bool) -> None:
    """Check a fleet file and tell every problem in it, with its place.

    With --store also what `promote` would refuse of the versions that are pinned: whether they are committed, would
    break clients of what serves, and fit into serving.resources.memory. Whoever folds pins does not ask.
    """
    from tfsdeploy.fleet.load import check_files

    call.answer.know(file=str(call.path))
    try:
        fleet = call.fleet
        check_files(call.path)
    except InvalidFile as error:
        call.answer.know(problems=[asdict(problem) for problem in error.problems])
        raise
    if look:
        _check_pinned(call)
    call.answer.give({"fleet": fleet.name, "target": fleet.target, "models": list(fleet.models), "problems": []})
    if not call.answer.json:
        click.echo(f"{call.path}: fleet {fleet.name} is valid ({count(len(fleet.models), 'model')})")


def _check_pinned(call: Call) -> None:
    """Compare what is pinned with the store and with what is live.

    Raises:
        InvalidFile: something is wrong with it.
        TfsdeployError: the store can be reached neither from here nor through the fleet's replicas.
    """
    from tfsdeploy.cli.stores import models_of, pinned_troubles, readable

    try:
        release, store = call.target.releases().read(), readable(call)
    except TfsdeployError as error:
        call.report.warn(f"what is live cannot be seen, so that nothing is compared with it: {error}")
        release, store = None, models_of(call)
    problems = [Problem(0, 0, path, message) for path, message in pinned_troubles(call, release, store)]
    if problems:
        call.answer.know(problems=[asdict(problem) for problem in problems])
        raise InvalidFile(str(call.path), problems)

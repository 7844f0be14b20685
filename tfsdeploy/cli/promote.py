"""`tfsdeploy promote MODEL VERSION`: traffic to a version, when every replica has it and none before."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfsdeploy.cli import words
from tfsdeploy.cli.call import Call
from tfsdeploy.cli.command import command as declare
from tfsdeploy.cli.command import fleet_options, model_argument, version_argument
from tfsdeploy.cli.switch import FIELDS, commit, follow, show, switch, switch_options
from tfsdeploy.errors import UsageError

if TYPE_CHECKING:
    from tfsdeploy.deploy.checks import ModelStore
    from tfsdeploy.release.model import ModelRelease, Release
    from tfsdeploy.release.update import Author

LOOK_SECONDS = 0.5


@declare(
    "promote",
    examples=(
        "tfsdeploy promote ranker 8",
        "tfsdeploy promote ranker 8 --weight 10                       # a canary that stays",
        "tfsdeploy promote ranker 8 --steps 5,25,100 --interval 30s",
        "tfsdeploy promote ranker 8 --probe 100 -o json",
        "tfsdeploy promote ranker 8 --git deploy                      # by a commit that GitOps applies",
    ),
    exits=(0, 1, 2, 4, 5, 130),
    fields=FIELDS,
)
@model_argument
@version_argument
@click.option("--weight", type=click.IntRange(1, 100), metavar="PERCENT", help="One step, which stays: a canary.")
@click.option("--steps", type=words.steps, metavar="P,P,…", help="Shares, one after the other.")
@click.option(
    "--interval", type=words.seconds, metavar="TIME", default="0s", show_default=True, help="How long a step stays."
)
@click.option(
    "--force",
    "--allow-incompatible",
    is_flag=True,
    help="Promote, with a warning, what would break clients of what serves, or is estimated not to fit.",
)
@click.option("--take-over", is_flag=True, help="Take the model over from another command that is changing it.")
@switch_options
@fleet_options(by_name=True, timeout=600.0, yes="Promote a version that a rollback has rejected, without asking.")
def command(
    call: Call,
    model: str,
    version: int,
    weight: int | None,
    steps: tuple[int, ...] | None,
    interval: float,
    force: bool,
    take_over: bool,
    why: str,
    write: bool,
    probe: float | None,
    git_folder: Path | None,
) -> None:
    """Move MODEL's traffic to VERSION.

    It is loaded beside what serves, asked once on every replica, and only then given traffic; the version before stays
    loaded for `rollback`. If it cannot load or answer, it is taken out again and traffic never moves (exit 4). The same
    command continues what was interrupted.
    """
    call.answer.know(model=model, to=version)
    if weight is not None and steps is not None:
        raise UsageError("--weight and --steps exclude each other", hint="--weight 10 is the same as --steps 10")
    from tfsdeploy.cli.stores import memory_here, readable, remembering
    from tfsdeploy.deploy.checks import check_canary, check_promotion, gate_of
    from tfsdeploy.deploy.rollout import Promotion, already, promote
    from tfsdeploy.deploy.switched import Switched
    from tfsdeploy.release.update import introduce

    settings, steps = call.settings, steps or (weight or 100,)
    author = call.author(_words(model, version, steps), why)
    release, state = _present(call, model)
    call.answer.know(**{"from": state.main})
    check_canary(state, version, steps)
    if git_folder is None and already(state, version, steps):
        same = Switched(model, state.main, version, release.generation, 0.0, 0.0, 0.0, changed=False)
        # A command that was killed at its very end had not let the file follow.
        show(call, follow(call, same, author, write))
        return
    store = readable(call)
    if release.generation == 0 and git_folder is None and store.versions(model) is None:
        # Only replicas see this store, and without a release none answers.
        _begin(call, store, model, author)
        release, state = _present(call, model)
    record = check_promotion(
        store, release, state, model, version, settings,
        available=memory_here(call), force=force, warn=call.report.warn,
    )  # fmt: skip
    if version in state.rejected:
        call.agree(f"Version {version} of {model} was rejected by a rollback. Promote it again?")
    if git_folder is not None:
        commit(call, model, _as_committed(state, version, steps), author, git_folder)
        return
    promotion = Promotion(
        model, version, steps, interval, record.digest, settings.keep, take_over=take_over, timeout=call.timeout
    )
    gate = gate_of(store, record, example_request(call, model), timeout=call.timeout)

    def change() -> Switched:
        if not state.versions:
            introduce(call.target.releases(), settings.fleet, model, author)
        return promote(remembering(call), promotion, gate, author, call.report)

    switch(call, model, author, change, write=write, probe=probe)


def _begin(call: Call, store: ModelStore, model: str, author: Author) -> None:
    """Give a fleet that Git or Helm has made its first release, and wait for a replica that answers."""
    from tfsdeploy.release.update import introduce

    introduce(call.target.releases(), call.settings.fleet, model, author)
    call.report.waiting("the fleet has its first release now; waiting for its replicas")
    until = time.monotonic() + call.timeout
    while store.versions(model) is None and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)


def _present(call: Call, model: str) -> tuple[Release, ModelRelease]:
    """The present generation, and the model as it is there; one that only the fleet file has waits for this promote."""
    from tfsdeploy.release.model import ModelRelease
    from tfsdeploy.release.update import model_of, nothing, present

    releases = call.target.releases()
    release = releases.read()
    if (release is None or model not in release.models) and call.named is None and model in call.fleet.models:
        return release or nothing(call.fleet.name), ModelRelease({}, {})
    release = present(releases)
    try:
        return release, model_of(release, model)
    except UsageError as error:
        error.hint = f"{error.hint}; a new model is first written below `models` of the fleet file"
        raise


def _as_committed(state: ModelRelease, version: int, steps: tuple[int, ...]) -> ModelRelease:
    """The model as one commit can ask for it: at once, or as a canary that stays."""
    if len(steps) > 1:
        raise UsageError("a commit is one step", hint="--weight 10 for a canary; commit the next step when it is time")
    if steps == (100,) or state.main is None:
        return replace(state, main=version, traffic={version: 100})
    return replace(state, traffic={state.main: 100 - steps[0], version: steps[0]})


def example_request(call: Call, model: str) -> Path | None:
    """The request that the fleet file gives for the gate; None without one, or without the file."""
    if call.named is not None or model not in call.fleet.models:
        return None
    return call.fleet.models[model].example


def _words(model: str, version: int, steps: tuple[int, ...]) -> str:
    """The command as the history shows it."""
    return f"promote {model} {version}" + ("" if steps == (100,) else f" --steps {','.join(map(str, steps))}")

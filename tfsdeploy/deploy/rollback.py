"""Rollback: one generation, and the wait until every gateway has switched. Imports little: it must start fast."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tfsdeploy.deploy import next_action as decide
from tfsdeploy.deploy.switched import Switched
from tfsdeploy.deploy.watch import REFRESH_SECONDS, View, Watch
from tfsdeploy.deploy.words import count, listed, split_words
from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.release import transitions
from tfsdeploy.release.model import ModelRelease, Release
from tfsdeploy.release.update import Author, change_models, model_of, present
from tfsdeploy.report import Report
from tfsdeploy.targets.base import Target


def rollback(
    target: Target, name: str, author: Author, report: Report, *, to: int | None = None, timeout: float = 30.0
) -> Switched:
    """All traffic of a model back, in one generation; waits until every gateway has switched.

    Args:
        target: the fleet; neither its file nor its store is needed.
        name: the model.
        author: who and why.
        report: hears what is waited for.
        to: the version to go to; None for the rule of `transitions.rollback`.
        timeout: seconds to wait for the gateways.

    Raises:
        Refused: there is no version to go to.
        TfsdeployError: not every gateway switched in time.
    """
    started = time.monotonic()
    left: dict[str, int | None] = {}
    moved = True
    with Watch(target, replicas=False) as watch:

        def back(release: Release) -> tuple[Mapping[str, ModelRelease | None], str | None]:
            nonlocal moved
            model = model_of(release, name)
            after = transitions.rollback(model, to=to, settled=_is_settled(watch, name, model))
            left["from"] = _left(model, after)
            moved = after.traffic != model.traffic
            return {name: after}, None

        # Decided anew whenever the document changes meanwhile: a rollback always wins.
        release = change_models(target.releases(), back, author)
        written = time.monotonic()
        report.within(timeout + 2 * REFRESH_SECONDS)
        model = release.models[name]
        view = _wait_for_gateways(target, watch, name, release, report, timeout)
    ended = time.monotonic()
    assert model.main is not None
    report.say(f"{split_words(model)}, effective on {count(len(view.gateways), 'gateway')}")
    return Switched(
        name, left["from"], model.main, release.generation, 0.0, ended - written, ended - started, moved=moved
    )


def _is_settled(watch: Watch, name: str, model: ModelRelease) -> bool:
    """Whether the present traffic is effective everywhere; asked only where the answer matters, and not for long."""
    if model.from_ is None:
        return True
    view = watch.until(lambda view: not decide.gateways_behind(view, name, model, 0), 0.25)
    return not decide.gateways_behind(view, name, model, 0)


def _left(before: ModelRelease, after: ModelRelease) -> int | None:
    """The version that a rollback takes traffic from: the one of the rollout or canary, else the one with most."""
    if before.rollout is not None and before.rollout.to != after.main:
        return before.rollout.to
    others = [version for version in before.traffic if version != after.main]
    return max(others, key=lambda version: before.traffic[version]) if others else None


def _wait_for_gateways(
    target: Target, watch: Watch, name: str, release: Release, report: Report, timeout: float
) -> View:
    started = time.monotonic()
    model = release.models[name]
    while True:
        view = watch.view()
        behind = decide.gateways_behind(view, name, model, release.generation)
        if not behind:
            return view
        if decide.waited_enough(view, behind, time.monotonic() - started, timeout):
            raise TfsdeployError(
                f"the rollback is written (generation {release.generation}), and is effective on "
                f"{len(view.gateways) - len(behind)} of {len(view.gateways)} gateways: {listed(behind)}",
                hint="the others follow as soon as they can; `tfsdeploy status` shows them",
            )
        newest = present(target.releases())
        if model_of(newest, name).traffic != model.traffic:
            raise Busy(f"model {name} was changed again by {newest.change.who}: {newest.change.command}")
        report.waiting(listed(behind))
        watch.wait(REFRESH_SECONDS)

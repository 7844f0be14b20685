"""`up` and `diff`: bring a fleet to what its file says, or tell the difference. (`down` is the target's alone.)"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tfsdeploy.deploy.next_action import gateways_behind
from tfsdeploy.deploy.plan import Committed, ReleasePlan, release_plan
from tfsdeploy.deploy.trust import check_trust
from tfsdeploy.deploy.watch import REFRESH_SECONDS, View, Watch
from tfsdeploy.deploy.words import listed
from tfsdeploy.errors import Busy, TfsdeployError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.processes import who
from tfsdeploy.release.conflict import Conflict
from tfsdeploy.release.model import ModelRelease, Release
from tfsdeploy.release.transitions import settle
from tfsdeploy.release.update import ATTEMPTS, Author, change_models, nothing
from tfsdeploy.report import Report
from tfsdeploy.targets.base import GatewayAddress, Target, seen_by_clients

HEAR_SECONDS = 3.0
"""How long an `up` listens for gateways before it says what is effective now: a little more than two beats."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an `up` did.

    Attributes:
        fleet: its name.
        generation: the release that is effective.
        changes: every step of shape and release that was carried out; empty: it was so already.
        warnings: what is not as the fleet file says.
        gateways: where clients find it.
    """

    fleet: str
    generation: int
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    gateways: tuple[GatewayAddress, ...]


def up(
    fleet: Fleet,
    target: Target,
    store: Committed,
    report: Report,
    *,
    enforce_pins: bool = False,
    timeout: float = 300.0,
) -> Outcome:
    """Bring a fleet to what its file says, and wait until requests are answered so.

    Interrupted at any point, the fleet serves on, and another `up` continues.

    Args:
        fleet: what is wanted.
        target: where it lives.
        store: the committed versions.
        report: hears of every step.
        enforce_pins: fold the pins although they were folded before.
        timeout: seconds that one step may take.

    Raises:
        TfsdeployError: something was not ready in time; says what, and what stands.
    """
    with target.exclusive(fleet, report):
        # Said before anything is made: a version that is pinned and not there, a model that another command holds.
        shape = target.changes(fleet)
        present = target.releases().read() or nothing(fleet.name)
        check_trust(target.settings(), fleet, present, store)
        release_plan(present, fleet, store)
        # Each of its steps keeps its own time.
        report.within(0)
        target.prepare(fleet, report)
        report.within(timeout)
        planned, release = _bring_release(fleet, target, store, enforce_pins)
        for line in planned.lines:
            report.say(line)
        if _handed(target) != fleet.pins():
            target.write_pins(fleet.pins())
        report.within(0)
        target.apply(fleet, report, timeout=timeout)
        report.within(timeout)
        if not planned.complete:
            # What only replicas can read is known now that there are some.
            planned, release = _bring_release(fleet, target, store, enforce_pins)
            for line in planned.lines:
                report.say(line)
        release = _wait_until_effective(target, release, report, timeout)
        if any(_settled_state(model, fleet.serving.keep) != model for model in release.models.values()):
            release = _settle(target, fleet.serving.keep)
    for warning in planned.warnings:
        report.warn(warning)
    return Outcome(fleet.name, release.generation, (*planned.lines, *shape), planned.warnings, seen_by_clients(target))


def _handed(target: Target) -> Pins | None:
    """The pins that were last handed over; none if they are nonsense, in whose place the fleet file's are written."""
    try:
        return target.pins()
    except TfsdeployError:
        return None


@dataclass(frozen=True, slots=True)
class Differences:
    """Where a fleet is not as its file says.

    Attributes:
        changes: what `up` would do, a line each with its reason.
        stays: what `up` would leave as it is, such as a pin that an emergency rollback has overruled.
    """

    changes: tuple[str, ...]
    stays: tuple[str, ...]


def differences(fleet: Fleet, target: Target, store: Committed) -> Differences:
    """Compare a fleet with its file; changes nothing."""
    release = target.releases().read() or nothing(fleet.name)
    planned = release_plan(release, fleet, store)
    return Differences((*target.changes(fleet), *planned.lines), planned.warnings)


def _bring_release(fleet: Fleet, target: Target, store: Committed, enforce_pins: bool) -> tuple[ReleasePlan, Release]:
    """Write the generation that the fleet file asks for; the first one if there is none."""
    author = Author(who(), "up")
    releases = target.releases()
    for _ in range(ATTEMPTS):
        present = releases.read()
        settled = _settled(target, present) if present is not None else frozenset[str]()
        base = present or nothing(fleet.name)
        planned = release_plan(base, fleet, store, settled=settled, enforce_pins=enforce_pins)
        if present is not None and not planned.models and planned.pins is None:
            return planned, present
        change = author.change() if planned.pins is None else Author(who(), f"up, pins {planned.pins}").change()
        new = base.next(planned.models, change, pins=planned.pins)
        try:
            releases.swap(new, present)
            return planned, new
        except Conflict:
            continue
    raise Busy(f"the release document changed {ATTEMPTS} times while this `up` was tried")


def _settled(target: Target, release: Release) -> frozenset[str]:
    """The models whose wanted traffic is effective at every gateway that should be there."""
    if not target.gateways():
        return frozenset()
    with Watch(target, replicas=False) as watch:
        view = watch.until(lambda view: view.heard, HEAR_SECONDS)
    return frozenset(name for name, model in release.models.items() if not gateways_behind(view, name, model, 0))


def _wait_until_effective(target: Target, release: Release, report: Report, timeout: float) -> Release:
    """Wait until every gateway is ready and serves every model as the release says; returns the release by then."""
    until = time.monotonic() + timeout
    report.within(timeout + 2 * REFRESH_SECONDS)
    told = ""
    with Watch(target, replicas=False) as watch:
        while True:
            # A promote may be at work at the same time: what counts is the release of this moment.
            release = target.releases().read() or release
            view = watch.view()
            missing = _missing(view, release)
            if not missing:
                return release
            text = listed(missing)
            if time.monotonic() > until:
                raise TfsdeployError(
                    f"not everything serves after {timeout:.0f} s: {text}",
                    hint="what served before serves on; mend the cause and run `tfsdeploy up` again, or look with "
                    "`tfsdeploy status`",
                )
            if text != told and view.heard:
                report.waiting(text)
                told = text
            watch.wait(REFRESH_SECONDS)


def _missing(view: View, release: Release) -> Mapping[str, str]:
    """What is not in use yet, each with its reason; models that another command is changing are that command's."""
    missing = {
        f"gateway {name}": "does not answer" if status is None else "not ready"
        for name, status in view.gateways.items()
        if status is None or not status.ready
    }
    if not view.gateways:
        missing["gateways"] = "there is none"
    for name, model in release.models.items():
        behind = gateways_behind(view, name, model, 0) if model.rollout is None else {}
        if behind:
            missing[f"model {name}"] = ", ".join(sorted(set(behind.values())))
    return missing


def _settle(target: Target, keep: int) -> Release:
    """All is effective everywhere: nothing is kept for barriers that are open, and what is beyond ``keep`` leaves."""

    def decide(release: Release) -> tuple[Mapping[str, ModelRelease | None], str | None]:
        calm = {name: _settled_state(model, keep) for name, model in release.models.items()}
        return {name: model for name, model in calm.items() if model != release.models[name]}, None

    return change_models(target.releases(), decide, Author(who(), "up"))


def _settled_state(model: ModelRelease, keep: int) -> ModelRelease:
    """A model whose traffic is effective, as it stays; one that a command holds, or a rollback left, as it is."""
    calm = settle(model, keep)
    if model.rollout is not None or (model.opens == "enough" and calm.versions == model.versions):
        return model
    return calm

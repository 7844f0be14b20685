"""Promote: one release transition after the other, each when the fleet is ready for it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from tfsdeploy.deploy import next_action as decide
from tfsdeploy.deploy.owner import is_alive, this_process
from tfsdeploy.deploy.switched import Switched
from tfsdeploy.deploy.watch import REFRESH_SECONDS, View, Watch
from tfsdeploy.deploy.words import count, listed, split_words
from tfsdeploy.errors import Busy, Refused, TfsdeployError
from tfsdeploy.protocol.agents import ReplicaStatus
from tfsdeploy.release import transitions
from tfsdeploy.release.model import ModelRelease, Release, Rollout
from tfsdeploy.release.update import Author, change_model, change_models, model_of, present
from tfsdeploy.report import Report
from tfsdeploy.targets.base import Target

SETTLE_SECONDS = 5.0
"""How long a promote waits for an earlier change to become effective before it refuses to begin."""

HANGS_SECONDS, WRITE_SECONDS = 0.5, 5.0
"""How much later than its time a wait is said to hang; how long a generation takes to be written at most."""

GateCheck = Callable[[ReplicaStatus], str | None]
"""Asks one replica's new version directly; returns what is wrong with the answer, or None."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promote is asked for.

    Attributes:
        model: its name.
        to: the version.
        steps: the shares (percent) that it gets one after the other; the last may be less than 100: a canary.
        interval: seconds that each step stays before the next.
        digest: of the version's commit record.
        keep: how many versions beside the newest stay loaded.
        take_over: continue or replace a change that belongs to another command.
        timeout: seconds that one wait may take.
    """

    model: str
    to: int
    steps: tuple[int, ...]
    interval: float
    digest: str | None
    keep: int
    take_over: bool = False
    timeout: float = 600.0


def already(model: ModelRelease, to: int, steps: tuple[int, ...]) -> bool:
    """Whether the model's traffic is already as the last step wants it, and nothing is under way."""
    last = steps[-1]
    wanted = {to: 100} if last == 100 or model.main is None else {model.main: 100 - last, to: last}
    return model.rollout is None and model.traffic == wanted


def promote(target: Target, promotion: Promotion, gate: GateCheck, author: Author, report: Report) -> Switched:
    """Carry out a promote, or continue one that was left.

    Args:
        target: the fleet.
        promotion: what is asked for; the version was checked by the caller.
        gate: asked once for each replica before any traffic moves.
        author: who and why.
        report: hears of every step.

    Raises:
        Refused: the version cannot serve, or the gateways are not settled; traffic is as it was.
        Busy: the model belongs to another command, or was taken over or rolled back meanwhile.
        TfsdeployError: traffic moved, but not on every gateway in time; nothing was retired.
    """
    with Watch(target) as watch:
        run = _Run(target, promotion, gate, author, report, watch)
        run.begin()
        return run.carry_out()


class _Run:
    """One run of a promote: the loop around `next_action`, and what it remembers between two rounds."""

    def __init__(
        self, target: Target, promotion: Promotion, gate: GateCheck, author: Author, report: Report, watch: Watch
    ) -> None:
        self._target = target
        self._promotion = promotion
        self._check = gate
        self._author = author
        self._report = report
        self._watch = watch
        self._id = uuid.uuid4().hex
        self._started = self._last_write = time.monotonic()
        self._begun = self._written = 0
        self._from: int | None = None
        self._gate: dict[str, str | None] = {}
        self._effective_since: float | None = None
        self._load = self._switch = 0.0

    def begin(self) -> None:
        """Write the first generation: load the version, or continue the rollout that is there."""
        wanted = self._promotion
        self._report.within(wanted.timeout + HANGS_SECONDS)
        release = present(self._target.releases())
        model = model_of(release, wanted.model)
        self._from = model.main
        if model.rollout is None:
            self._wait_until_settled(model)
        rollout = Rollout(id=self._id, to=wanted.to, steps=wanted.steps, step=0, by=this_process())

        def begin(present_model: ModelRelease) -> ModelRelease:
            current = present_model.rollout
            if current is not None and not wanted.take_over:
                _check_free(current, wanted)
            return transitions.begin(
                present_model, rollout, wanted.digest, keep=wanted.keep, settled=True, take_over=wanted.take_over
            )

        self._report.within(wanted.timeout)
        after = change_model(self._target.releases(), wanted.model, begin, self._author)
        if model.rollout is not None:
            did = "continuing" if (model.rollout.to, model.rollout.steps) == (wanted.to, wanted.steps) else "replacing"
            self._report.say(f"{did} the promote of {wanted.model} to version {model.rollout.to}")
        self._begun = self._written = after.generation
        self._last_write = time.monotonic()
        begun = after.models[wanted.model].rollout
        for version in begun.retired if begun is not None else ():
            self._report.say(f"version {version} leaves to make room")

    def carry_out(self) -> Switched:
        """Act until the rollout is finished."""
        while True:
            now = self._snapshot()
            # A wait ends by itself; what hangs instead is ended a little later.
            left = now.timeout if now.calm else max(0.0, now.timeout - now.waited)
            self._report.within(left + HANGS_SECONDS)
            match decide.next_action(now):
                case decide.Wait(on):
                    self._report.waiting(_waiting_words(self._promotion, on))
                    self._watch.wait(REFRESH_SECONDS)
                case decide.Gate(replicas):
                    self._ask_gate(now.view, replicas)
                case decide.Shift(share):
                    self._shift(share)
                case decide.Finish():
                    return self._finish()
                case decide.TakeOut(why):
                    self._take_out(why)
                case decide.GiveUp(behind):
                    self._give_up(now.view, behind)
                case decide.Lost():
                    self._lost(present(self._target.releases()))

    def _wait_until_settled(self, model: ModelRelease) -> None:
        """Every gateway answers, and does what the release says: only then is it known what to go back to."""
        name = self._promotion.model

        def behind(view: View) -> dict[str, str]:
            return decide.gateways_behind(view, name, model, 0)

        self._report.waiting("asking the gateways")
        view = self._watch.until(lambda view: not behind(view), min(SETTLE_SECONDS, self._promotion.timeout))
        if reasons := behind(view):
            raise Refused(
                f"the gateways are not settled, so nothing was changed: {listed(reasons)}",
                hint="`tfsdeploy status` shows them; `tfsdeploy up` brings back what is missing",
            )

    def _snapshot(self) -> decide.Snapshot:
        release = present(self._target.releases())
        model = model_of(release, self._promotion.model)
        view = self._watch.view()
        now = time.monotonic()
        if model.rollout is not None and model.rollout.step > 0:
            behind = decide.gateways_behind(view, self._promotion.model, model, self._written)
            if not behind and self._effective_since is None:
                self._effective_since = now
                self._switch = now - self._last_write
                self._report.say(f"{split_words(model)}, effective on {count(len(view.gateways), 'gateway')}")
        return decide.Snapshot(
            name=self._promotion.model,
            model=model,
            id=self._id,
            begun=self._begun,
            written=self._written,
            view=view,
            gate=self._gate,
            waited=now - self._last_write,
            calm=0.0 if self._effective_since is None else now - self._effective_since,
            interval=self._promotion.interval,
            timeout=self._promotion.timeout,
        )

    def _ask_gate(self, view: View, replicas: tuple[str, ...]) -> None:
        for name in replicas:
            status = view.replicas[name]
            if status is not None:
                self._report.waiting(f"asking version {self._promotion.to} on {name}")
                reached = replace(status, rest=self._target.reached(name, status.rest))
                self._report.within(self._promotion.timeout)
                self._gate[name] = self._check(reached)
                late = time.monotonic() - self._last_write > self._promotion.timeout
                if late and self._gate[name] is not None:
                    # One that fails is enough, and there is no time to hear of more.
                    return

    def _shift(self, share: int) -> None:
        if not self._load:
            self._load = time.monotonic() - self._started
            self._report.say(
                f"version {self._promotion.to} is available on {count(len(self._gate), 'replica')} and passed the gate"
            )
        self._effective_since = None
        self._last_write = time.monotonic()
        self._write(lambda model: transitions.shift(model, share))

    def _finish(self) -> Switched:
        self._write(transitions.finish)
        wanted, total = self._promotion, time.monotonic() - self._started
        return Switched(
            wanted.model, self._from, wanted.to, self._written, self._load, self._switch, total, share=wanted.steps[-1]
        )

    def _take_out(self, why: str) -> NoReturn:
        self._write(transitions.take_out)
        raise Refused(
            f"version {self._promotion.to} of {self._promotion.model} was taken out again, traffic never moved: {why}",
            hint=f"generation {self._written} is as it was before; `tfsdeploy logs` has the replicas' own words",
        )

    def _give_up(self, view: View, behind: Mapping[str, str]) -> NoReturn:
        switched, wanted = len(view.gateways) - len(behind), self._promotion
        raise TfsdeployError(
            f"switched on {switched} of {len(view.gateways)} gateways; nothing was retired, both versions stay loaded "
            f"(generation {self._written}): {listed(behind)}",
            hint=f"the same command continues; `tfsdeploy rollback {wanted.model}` takes it back",
        )

    def _lost(self, release: Release) -> NoReturn:
        raise Busy(
            f"model {self._promotion.model} was taken over by {release.change.who}: {release.change.command}",
            hint=f"this command had written up to generation {self._written}; see `tfsdeploy history`",
        )

    def _write(self, transition: Callable[[ModelRelease], ModelRelease]) -> None:
        """One generation, if the model still belongs to this run; other models may change meanwhile."""
        name = self._promotion.model
        self._report.within(max(HANGS_SECONDS, min(self._promotion.timeout, WRITE_SECONDS)))

        def change(release: Release) -> tuple[Mapping[str, ModelRelease | None], str | None]:
            model = model_of(release, name)
            if model.rollout is None or model.rollout.id != self._id:
                self._lost(release)
            return {name: transition(model)}, None

        self._written = change_models(self._target.releases(), change, self._author).generation


def _check_free(current: Rollout, wanted: Promotion) -> None:
    """Refuse a model that belongs to another change; the same change, left by a command that ended, is continued.

    Raises:
        Busy: says whose it is, and the ways out.
    """
    if is_alive(current.by):
        raise Busy(
            f"{current.owner} is changing model {wanted.model} at this moment: promote to version {current.to}",
            hint="wait for it, take it back with `tfsdeploy rollback`, or insist with --take-over",
        )
    if (current.to, current.steps) != (wanted.to, wanted.steps):
        steps = ",".join(map(str, current.steps))
        raise Busy(
            f"model {wanted.model} has a promote to version {current.to} that was not finished, by {current.owner}",
            hint=f"`tfsdeploy promote {wanted.model} {current.to} --steps {steps}` continues it, `tfsdeploy rollback "
            f"{wanted.model}` takes it back, --take-over replaces it",
        )


def _waiting_words(promotion: Promotion, on: Mapping[str, str]) -> str:
    return f"{promotion.model} {promotion.to}: {listed(on)}"

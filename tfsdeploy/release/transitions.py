"""Every way in which one model's release may change: pure functions, state in, state out.

    add ──> begin ──> shift … shift ──> finish      a promote, with its steps
              │          │
              └─ take_out┘                          the load or a gate failed: as it was before
    rollback                                        always wins; one generation
    settle                                          effective everywhere: what is beyond `keep` leaves
    label, fold                                     labels; what the fleet file pins

``settled`` says whether the traffic that the state asks for is known to be effective at every gateway. If it is not,
the split to keep meanwhile stays the one before it: nobody knows more than that it works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tfsdeploy.errors import Busy, Refused
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.release.model import ModelRelease, Opens, Release, Rollout, Split


def add(version: int, digest: str | None) -> ModelRelease:
    """A model's first state: all traffic to one version, as soon as every member has it."""
    return ModelRelease(versions={version: digest}, traffic={version: 100}, main=version)


def begin(
    model: ModelRelease,
    rollout: Rollout,
    digest: str | None,
    *,
    keep: int,
    settled: bool = True,
    take_over: bool = False,
) -> ModelRelease:
    """Load the version of ``rollout`` beside what serves; traffic does not move.

    Versions beyond ``keep`` leave to make room, hot ones first; what has traffic stays. Running the same change again
    continues the one that is there, under the id of the new run.

    Args:
        model: the present state.
        rollout: the change; its ``id`` and ``by`` are the caller's.
        digest: of the version's commit record.
        keep: how many versions beside the newest stay loaded; 0 or more.
        settled: see the module.
        take_over: continue or replace a change that belongs to another command.

    Raises:
        Busy: another change of this model is under way.
    """
    current = model.rollout
    if current is not None:
        same = (current.to, current.steps) == (rollout.to, rollout.steps)
        if not same and not take_over:
            raise Busy(
                f"{current.owner} is changing this model: promote to version {current.to}", hint="--take-over to insist"
            )
        if same:
            return replace(model, rollout=replace(current, id=rollout.id, by=rollout.by))
        model = take_out(model)
    if settled:
        model = replace(model, from_=None)
    beyond = _beyond(model, {rollout.to}, keep)
    retired = {version: model.versions[version] for version in beyond}
    return replace(
        model,
        versions={**{v: d for v, d in model.versions.items() if v not in beyond}, rollout.to: digest},
        rejected=model.rejected - {rollout.to},
        rollout=replace(rollout, step=0, loaded=rollout.to not in model.versions, retired=retired),
    )


def shift(model: ModelRelease, share: int, *, settled: bool = True) -> ModelRelease:
    """The next step of the rollout: ``share`` percent of the traffic to its version, the rest to the main one."""
    rollout, main = _rollout_of(model), model.main
    if share == 100 or main is None or main == rollout.to:
        traffic = {rollout.to: 100}
    else:
        traffic = {main: 100 - share, rollout.to: share}
    return replace(_move(model, traffic, "all", settled), rollout=replace(rollout, step=rollout.step + 1))


def finish(model: ModelRelease) -> ModelRelease:
    """The rollout is effective everywhere: it ends, and the version that was left stays hot as ``previous``."""
    rollout = _rollout_of(model)
    if model.traffic != {rollout.to: 100}:
        return replace(model, from_=None, rollout=None)
    previous = model.previous if model.main in (None, rollout.to) else model.main
    return replace(model, from_=None, rollout=None, main=rollout.to, previous=previous)


def take_out(model: ModelRelease) -> ModelRelease:
    """Undo a rollout whose load or gate failed: main traffic, versions and labels as they were before `begin`."""
    rollout = _rollout_of(model)
    traffic = {model.main: 100} if model.main is not None else {}
    back = _move(model, traffic, "enough", settled=False) if model.traffic != traffic else model
    held = {**back.versions, **rollout.retired}
    if rollout.loaded and rollout.to not in _with_traffic(back):
        del held[rollout.to]
    return replace(
        back, versions=dict(sorted(held.items())), rollout=None, labels=_labels_within(back.labels, set(held))
    )


def rollback(model: ModelRelease, *, to: int | None = None, settled: bool = True) -> ModelRelease:
    """All traffic back, at once, to a version that is already loaded.

    During a canary or a rollout that is the main version, otherwise ``previous``. What was left is marked rejected and
    stays hot. There is no second rollback: it would bring back what the first one left.

    Args:
        model: the present state.
        to: the version to go to; None for the rule above.
        settled: see the module.

    Raises:
        Refused: there is no version to go to, or it is not loaded.
    """
    undecided = model.rollout is not None or model.traffic != {model.main: 100}
    target = to if to is not None else model.main if undecided else model.previous
    if target is None or target not in model.versions:
        found = "there is no version to go back to" if target is None else f"version {target} is not loaded"
        raise Refused(f"rollback: {found}", hint=_could_name(model))
    if model.traffic == {target: 100} and model.rollout is None:
        raise Refused(f"rollback: version {target} has all the traffic already", hint=_could_name(model))
    left = {v for v in (*model.traffic, model.rollout.to if model.rollout else target) if v != target}
    moved = model if model.traffic == {target: 100} else _move(model, {target: 100}, "enough", settled)
    return replace(moved, main=target, previous=None, rejected=(model.rejected | left) - {target}, rollout=None)


def label(model: ModelRelease, labels: Mapping[str, int]) -> ModelRelease:
    """Point labels at versions.

    Raises:
        Refused: a label names a version that is not loaded.
    """
    for name, version in labels.items():
        if version not in model.versions:
            raise Refused(f"label {name}: version {version} is not loaded")
    return replace(model, labels=dict(sorted(labels.items())))


def settle(model: ModelRelease, keep: int) -> ModelRelease:
    """The split is effective everywhere: nothing is kept for the barrier, and what is beyond ``keep`` leaves."""
    calm = replace(model, from_=None)
    beyond = _beyond(calm, set(), keep)
    return replace(calm, versions={v: d for v, d in calm.versions.items() if v not in beyond})


def fold(release: Release, pins: Pins, *, keep: int, settled: frozenset[str] = frozenset()) -> dict[str, ModelRelease]:
    """The models that differ from what the fleet file pins, as the pins want them.

    Args:
        release: the present generation.
        pins: what the fleet file asks for.
        keep: how many versions beside the newest stay loaded; 0 or more.
        settled: the models whose present traffic is known to be effective at every gateway.

    Raises:
        Busy: a model that would change belongs to a command.
    """
    if pins.digest == release.pins:
        return {}
    changed: dict[str, ModelRelease] = {}
    for name, pin in pins.models.items():
        before = release.models.get(name)
        after = _pinned(before, pin, keep, name in settled)
        if after == before:
            continue
        if before is not None and before.rollout is not None:
            raise Busy(
                f"{before.rollout.owner} is changing model {name}", where=name, hint="the pins are folded when it ends"
            )
        changed[name] = after
    return changed


def _pinned(before: ModelRelease | None, pin: Pin, keep: int, settled: bool) -> ModelRelease:
    """One model as its pin wants it; equal to ``before`` if it is so already."""
    if pin.canary is None:
        traffic = {pin.version: 100}
    else:
        traffic = {pin.version: 100 - pin.canary.weight, pin.canary.version: pin.canary.weight}
    wanted = set(traffic) | set(pin.labels.values())
    labels = dict(sorted(pin.labels.items()))
    if before is None:
        return ModelRelease(versions=dict.fromkeys(sorted(wanted)), traffic=traffic, main=pin.version, labels=labels)
    grown = replace(before, versions={**dict.fromkeys(sorted(wanted)), **before.versions})
    moved = replace(grown if grown.traffic == traffic else _move(grown, traffic, "all", settled), main=pin.version)
    previous = _left_behind(before, pin.version, settled)
    needed = _with_traffic(moved) | wanted
    hot = [previous] if previous in moved.versions and previous not in needed and len(needed) <= keep else []
    held = needed | set(hot)
    return replace(
        moved,
        versions={v: d for v, d in sorted(moved.versions.items()) if v in held or moved.traffic == before.traffic},
        previous=previous,
        rejected=moved.rejected - set(traffic),
        labels=labels,
    )


def _left_behind(before: ModelRelease, version: int, settled: bool) -> int | None:
    """The version to go back to from ``version``: the one that served, which is not one whose barrier never opened."""
    served = before.main if settled or before.from_ is None else before.previous
    candidate = before.previous if served == version else served
    return candidate if candidate != version else None


def _move(model: ModelRelease, traffic: Split, opens: Opens, settled: bool) -> ModelRelease:
    """New traffic, and the split that is kept until its barrier opens."""
    known = model.traffic if settled or model.from_ is None else model.from_
    return replace(model, traffic=dict(sorted(traffic.items())), from_=dict(known) or None, opens=opens)


def _rollout_of(model: ModelRelease) -> Rollout:
    if model.rollout is None:
        raise Busy("this change was taken over or ended by another command", hint="see `tfsdeploy history`")
    return model.rollout


def _with_traffic(model: ModelRelease) -> set[int]:
    """The versions that must stay loaded: in the split, in the one kept meanwhile, or main."""
    return {*model.traffic, *(model.from_ or {}), *(() if model.main is None else (model.main,))}


def _beyond(model: ModelRelease, wanted: set[int], keep: int) -> set[int]:
    """The versions that leave so that at most ``keep`` + 1 stay: never one with traffic or a label, `previous` last."""
    arriving = {model.rollout.to} if model.rollout else set()
    needed = _with_traffic(model) | set(model.labels.values()) | arriving | wanted
    spare = sorted((v for v in model.versions if v not in needed), key=lambda v: (v == model.previous, v))
    room = max(0, keep + 1 - len(needed))
    return set(spare[: max(0, len(spare) - room)])


def _labels_within(labels: Mapping[str, int], versions: set[int]) -> dict[str, int]:
    return {name: version for name, version in labels.items() if version in versions}


def _could_name(model: ModelRelease) -> str:
    others = sorted(v for v in model.versions if model.traffic != {v: 100})
    if not others:
        return "no other version is loaded; `tfsdeploy promote` brings one in"
    return "loaded, and could be named with --to: " + ", ".join(map(str, others))

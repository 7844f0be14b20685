"""The release document as frozen values, and its JSON form (the only mutable truth of a fleet)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import is_label_name, is_model_name, parse_version

GROUP = "tfsdeploy/"
API_VERSION = f"{GROUP}v1"

# A ConfigMap holds at most 1 MiB (Kubernetes, "ConfigMap object size"); the rest is room for its metadata.
MAX_BYTES = 900 * 1024

Split = Mapping[int, int]
"""Traffic: version -> share in percent; the shares of a split that is not empty add up to 100."""

Opens = Literal["all", "enough"]
"""When the barrier opens: ``all`` members have the version, or ``enough`` (``minAvailable``) of them."""


class InvalidRelease(TfsdeployError):
    """A release document that cannot be followed; whoever holds a good one keeps it."""


class OtherVersion(InvalidRelease):
    """A release document that another tfsdeploy has written; nothing is wrong with it, and it must not be replaced."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A change of one model that a command is carrying out; the model belongs to that command.

    Attributes:
        id: unique for each run of the command, so that one that was taken over notices.
        to: the version that is to get the traffic.
        steps: the shares (percent) that ``to`` gets one after the other.
        step: how many of them have been written.
        by: the command's process, as ``user@host pid N start T boot B``.
        loaded: whether this rollout brought ``to`` into the release (an abort then takes it out again).
        retired: versions (with digests) that made room for ``to``; an abort gives them back.
    """

    id: str
    to: int
    steps: tuple[int, ...]
    step: int
    by: str
    loaded: bool = True
    retired: Mapping[int, str | None] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """`by` without what only commands compare: ``user@host pid N``."""
        return self.by.partition(" start ")[0]


@dataclass(frozen=True, slots=True)
class ModelRelease:
    """What one model's replicas hold and how its traffic is split.

    Attributes:
        versions: every version to hold, with the digest of its commit record (None: whatever the store's record says).
        traffic: the split that is wanted.
        from_: the split to keep until the barrier of ``traffic`` opens; None once it is known to be open everywhere.
        main: the version that last had all the traffic; None before the first.
        previous: the version that had all the traffic before ``main``; None if there is none to go back to.
        rejected: versions that a rollback left.
        labels: label -> version, resolved at the gateway.
        rollout: the command that is changing this model, if one is.
        opens: which barrier ``traffic`` waits for.
    """

    versions: Mapping[int, str | None]
    traffic: Split
    from_: Split | None = None
    main: int | None = None
    previous: int | None = None
    rejected: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)
    rollout: Rollout | None = None
    opens: Opens = "all"


@dataclass(frozen=True, slots=True)
class Change:
    """The history entry of one generation.

    Attributes:
        who: ``user@host``.
        when: UTC, ISO 8601; for people, never compared.
        why: the reason that the operator gave; may be empty.
        command: what was run, such as ``promote ranker 8`` or ``pins sha256:…``.
        before: the models that this generation changed, as they were (None: not there).
    """

    who: str
    when: str
    why: str
    command: str
    before: Mapping[str, ModelRelease | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Release:
    """One generation of a fleet's release document."""

    fleet: str
    uid: str
    generation: int
    change: Change
    pins: str | None = None
    models: Mapping[str, ModelRelease] = field(default_factory=dict)

    def next(self, models: Mapping[str, ModelRelease | None], change: Change, *, pins: str | None = None) -> Release:
        """The generation after this one.

        Args:
            models: the models that change; None removes one.
            change: who, when, why; ``before`` is filled in here.
            pins: hash of the pins that this generation folded; None leaves the remembered one.
        """
        merged = {**self.models, **models}
        return replace(
            self,
            generation=self.generation + 1,
            change=replace(change, before={name: self.models.get(name) for name in sorted(models)}),
            pins=pins or self.pins,
            models={name: model for name, model in sorted(merged.items()) if model is not None},
        )

    def supersedes(self, other: Release | None) -> bool:
        """Whether an agent that follows ``other`` should follow this one: newer, or another life of the fleet."""
        return other is None or self.uid != other.uid or self.generation > other.generation


def encode(release: Release) -> str:
    """The document's JSON text.

    Raises:
        InvalidRelease: it is larger than 900 KiB.
    """
    text = json.dumps(_release_to_plain(release), separators=(",", ":"), ensure_ascii=False) + "\n"
    size = len(text.encode())
    if size > MAX_BYTES:
        raise InvalidRelease(
            f"the release document would have {size} bytes, and {MAX_BYTES} is the limit",
            hint="split the models over two fleets",
        )
    return text


def decode(text: str | bytes) -> Release:
    """The release that a document's text stands for; unknown keys are ignored.

    Raises:
        OtherVersion: another apiVersion of ours.
        InvalidRelease: not JSON, or a state that must not be followed.
    """
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.get("apiVersion") != API_VERSION:
            found = plain.get("apiVersion") if isinstance(plain, dict) else type(plain).__name__
            kind = OtherVersion if str(found).startswith(GROUP) else InvalidRelease
            raise kind(
                f"release document: apiVersion is {found!r}, and this tfsdeploy reads {API_VERSION!r}",
                hint="use the tfsdeploy that has written it" if kind is OtherVersion else "",
            )
        release = Release(
            fleet=str(plain["fleet"]),
            uid=str(plain["uid"]),
            generation=int(plain["generation"]),
            change=_change_from_plain(plain["change"]),
            pins=plain.get("pins"),
            models={str(name): model_from_plain(model) for name, model in sorted(plain["models"].items())},
        )
        # JSON can spell half of a surrogate pair, which could not be written again.
        json.dumps(plain, ensure_ascii=False).encode()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidRelease(f"release document: {type(error).__name__}: {error}") from error
    for name, model in release.models.items():
        check(name, model)
    return release


def check(name: str, model: ModelRelease) -> None:
    """Refuse a model's state that no agent may follow.

    Raises:
        InvalidRelease: a name that is not allowed, a share that is none, traffic to a version that is not held.
    """
    problems = []
    if not is_model_name(name):
        problems.append(f"{name!r} is not a model name")
    for word, split in (("traffic", model.traffic), ("from", model.from_ or {})):
        if split and (sum(split.values()) != 100 or any(share <= 0 for share in split.values())):
            problems.append(f"{word} {dict(split)} does not add up to 100")
        problems += [f"{word} names version {v}, which is not held" for v in split if v not in model.versions]
    problems += [f"label {label!r} is not allowed" for label in model.labels if not is_label_name(label)]
    if problems:
        raise InvalidRelease(f"release document: model {name}: {'; '.join(problems)}")


def model_to_plain(model: ModelRelease) -> dict[str, Any]:
    """A model's state as it stands in the document."""
    return {
        "versions": {str(version): {"digest": digest} for version, digest in sorted(model.versions.items())},
        "traffic": _split_to_plain(model.traffic),
        "from": None if model.from_ is None else _split_to_plain(model.from_),
        "main": model.main,
        "previous": model.previous,
        "rejected": sorted(model.rejected),
        "labels": dict(sorted(model.labels.items())),
        "rollout": None if model.rollout is None else _rollout_to_plain(model.rollout),
        "opens": model.opens,
    }


def model_from_plain(plain: Mapping[str, Any]) -> ModelRelease:
    """The inverse of `model_to_plain`; raises ValueError, KeyError or TypeError for nonsense."""
    from_ = plain.get("from")
    rollout = plain.get("rollout")
    return ModelRelease(
        versions=_digests_from_plain(plain["versions"]),
        traffic=_split_from_plain(plain["traffic"]),
        from_=None if from_ is None else _split_from_plain(from_),
        main=plain.get("main"),
        previous=plain.get("previous"),
        rejected=frozenset(int(version) for version in plain.get("rejected", ())),
        labels={str(label): int(version) for label, version in sorted(plain.get("labels", {}).items())},
        rollout=None if rollout is None else _rollout_from_plain(rollout),
        opens="enough" if plain.get("opens") == "enough" else "all",
    )


def change_to_plain(change: Change) -> dict[str, Any]:
    """A history entry as it stands in the document."""
    before = {name: None if m is None else model_to_plain(m) for name, m in change.before.items()}
    return {"who": change.who, "when": change.when, "why": change.why, "command": change.command, "before": before}


def _change_from_plain(plain: Mapping[str, Any]) -> Change:
    before = plain.get("before", {})
    return Change(
        who=str(plain["who"]),
        when=str(plain["when"]),
        why=str(plain.get("why", "")),
        command=str(plain.get("command", "")),
        before={str(name): None if m is None else model_from_plain(m) for name, m in before.items()},
    )


def change_from_plain(plain: Mapping[str, Any]) -> Change:
    """The inverse of `change_to_plain`.

    Raises:
        InvalidRelease: the entry is nonsense.
    """
    try:
        return _change_from_plain(plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRelease(f"history entry: {type(error).__name__}: {error}") from error


def _release_to_plain(release: Release) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "fleet": release.fleet,
        "uid": release.uid,
        "generation": release.generation,
        "pins": release.pins,
        "change": change_to_plain(release.change),
        "models": {name: model_to_plain(model) for name, model in sorted(release.models.items())},
    }


def _rollout_to_plain(rollout: Rollout) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "to": rollout.to,
        "steps": list(rollout.steps),
        "step": rollout.step,
        "by": rollout.by,
        "loaded": rollout.loaded,
        "retired": {str(version): {"digest": digest} for version, digest in sorted(rollout.retired.items())},
    }


def _rollout_from_plain(plain: Mapping[str, Any]) -> Rollout:
    return Rollout(
        id=str(plain["id"]),
        to=int(plain["to"]),
        steps=tuple(int(share) for share in plain["steps"]),
        step=int(plain["step"]),
        by=str(plain["by"]),
        loaded=bool(plain.get("loaded", True)),
        retired=_digests_from_plain(plain.get("retired", {})),
    )


def _split_to_plain(split: Split) -> dict[str, int]:
    return {str(version): share for version, share in sorted(split.items())}


def _split_from_plain(plain: Mapping[str, Any]) -> dict[int, int]:
    return {_version(text): int(share) for text, share in sorted(plain.items(), key=lambda item: _version(item[0]))}


def _digests_from_plain(plain: Mapping[str, Any]) -> dict[int, str | None]:
    return {_version(text): plain[text].get("digest") for text in sorted(plain, key=_version)}


def _version(text: str) -> int:
    version = parse_version(text)
    if version is None:
        raise ValueError(f"{text!r} is not a version")
    return version

"""Pins: the versions, canaries and labels that a fleet file asks for, as they are handed to a fleet.

The standard library only: the agents read these, and they are to stay small.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfsdeploy.names import MAX_VERSION, is_label_name, is_model_name


@dataclass(frozen=True, slots=True)
class Canary:
    """A second version that gets a part of the traffic.

    Attributes:
        version: the version on trial.
        weight: its share of the requests, 1 to 99 percent.
    """

    version: int
    weight: int


@dataclass(frozen=True, slots=True)
class Pin:
    """What the file asks for one model.

    Attributes:
        version: gets the traffic that the canary does not.
        canary: None if there is none.
        labels: name → version.
    """

    version: int
    canary: Canary | None = None
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pins:
    """All pins of one fleet file; models that the file leaves to `promote` are not here.

    Attributes:
        models: name → pin.
    """

    models: Mapping[str, Pin]

    @property
    def digest(self) -> str:
        """``sha256:…`` over the canonical JSON: equal pins have equal digests, in whatever order they were written."""
        return "sha256:" + hashlib.sha256(canonical_json(self.to_json()).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The document that is handed to the fleet: plain values, every key there, what is absent null."""
        return {"models": {name: _plain(pin) for name, pin in sorted(self.models.items())}}

    @classmethod
    def from_json(cls, plain: Any) -> Pins:
        """The pins of a parsed document; keys that this version does not know are ignored.

        Raises:
            ValueError: it is not a pins document; the text names the place.
        """
        models = _mapping(_mapping(plain, "pins").get("models"), "models")
        return cls({name: _pin(name, pin) for name, pin in sorted(models.items())})


def canonical_json(plain: object) -> str:
    """One spelling for equal values: sorted keys, no spaces, ASCII. Digests are taken over this."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain(pin: Pin) -> dict[str, Any]:
    canary = None if pin.canary is None else {"version": pin.canary.version, "weight": pin.canary.weight}
    return {"version": pin.version, "canary": canary, "labels": dict(sorted(pin.labels.items()))}


def _pin(name: str, plain: Any) -> Pin:
    where = f"models.{name}"
    if not is_model_name(name):
        raise ValueError(f"{where}: not a model name")
    pin = _mapping(plain, where)
    canary = pin.get("canary")
    labels = {} if pin.get("labels") is None else _mapping(pin["labels"], f"{where}.labels")
    for label in labels:
        if not is_label_name(label):
            raise ValueError(f"{where}.labels.{label}: not a label name")
    return Pin(
        version=_integer(pin.get("version"), f"{where}.version", MAX_VERSION),
        canary=None if canary is None else _canary(canary, f"{where}.canary"),
        labels={label: _integer(labels[label], f"{where}.labels.{label}", MAX_VERSION) for label in sorted(labels)},
    )


def _canary(plain: Any, where: str) -> Canary:
    canary = _mapping(plain, where)
    return Canary(
        version=_integer(canary.get("version"), f"{where}.version", MAX_VERSION),
        weight=_integer(canary.get("weight"), f"{where}.weight", 99),
    )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: an object is expected, found {type(value).__name__}")
    return value


def _integer(value: Any, where: str, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
        raise ValueError(f"{where}: an integer from 1 to {high} is expected, found {value!r}")
    return value

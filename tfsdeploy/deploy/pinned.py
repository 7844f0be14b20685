"""Where what is pinned is not what is live, in words; pure."""

from __future__ import annotations

from tfsdeploy.deploy.words import split_words
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.release.model import Release


def unlike(release: Release, pins: Pins) -> dict[str, str]:
    """The pinned models whose wanted traffic is another, each with both: ``version 3, and traffic 2:100 is live``."""
    return {
        name: f"{_words(pin)}, and {split_words(model)} is live"
        for name, pin in sorted(pins.models.items())
        if (model := release.models.get(name)) is not None and model.traffic != _traffic(pin)
    }


def told(release: Release | None, pins: Pins | None) -> list[str]:
    """What `status` says of the pins that were handed to a fleet."""
    if release is None or pins is None:
        return []
    folded = release.pins == pins.digest
    then = "it stays so until other pins come, or `up --enforce-pins`" if folded else "the gateways have yet to follow"
    return [f"model {name}: pinned is {words}; {then}" for name, words in unlike(release, pins).items()]


def _traffic(pin: Pin) -> dict[int, int]:
    if pin.canary is None:
        return {pin.version: 100}
    return {pin.version: 100 - pin.canary.weight, pin.canary.version: pin.canary.weight}


def _words(pin: Pin) -> str:
    canary = "" if pin.canary is None else f" with {pin.canary.weight} % to {pin.canary.version}"
    return f"version {pin.version}{canary}"

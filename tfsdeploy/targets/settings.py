"""What `up` last applied, as a file of the fleet's state holds it. Pure."""

from __future__ import annotations

import json
from dataclasses import fields

from tfsdeploy.fleet.model import Fleet, to_plain
from tfsdeploy.render.quantities import bytes_of
from tfsdeploy.targets.base import Settings

FILE = "settings.json"

# What `up` has written is `up`'s: there is no other owner to tell of.
_KEPT = tuple(field.name for field in fields(Settings) if field.name != "owner")
_LATER = ("memory", "tflite")


def settings_of(fleet: Fleet, target: str, file: str) -> Settings:
    """The settings that follow from a fleet file.

    Args:
        fleet: the fleet.
        target: where it lives.
        file: the file that owns its name; empty where none does.
    """
    return Settings(
        fleet=fleet.name,
        target=target,
        file=file,
        store=fleet.store.url,
        store_options=to_plain(fleet.store.options),
        replicas=fleet.serving.replicas,
        min_available=fleet.serving.min_available,
        keep=fleet.serving.keep,
        memory=memory_limit(fleet.serving.resources.memory) if target != "local" else None,
        tflite=fleet.serving.flags.get("prefer_tflite_model") is True,
    )


def memory_limit(amount: str | None) -> int | None:
    """An amount of memory in Kubernetes' notation as bytes; None for none, and for one that is not understood."""
    try:
        return None if amount is None else int(bytes_of(amount))
    except (ValueError, KeyError):
        return None


def settings_to_text(settings: Settings) -> str:
    """The inverse of `settings_from_text`."""
    return json.dumps({name: getattr(settings, name) for name in _KEPT}, indent=1) + "\n"


def settings_from_text(text: str) -> Settings:
    """Settings as they were written; keys of a newer version are ignored.

    Raises:
        ValueError: it is no document of this kind.
    """
    try:
        plain = json.loads(text)
        # What older versions did not write has a default.
        known = {name: plain[name] for name in _KEPT if name in plain or name not in _LATER}
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    words = ("fleet", "target", "file", "store")
    numbers = ("replicas", "min_available", "keep")
    wrong = [name for name in words if not isinstance(known[name], str)]
    wrong += [name for name in numbers if not isinstance(known[name], int)]
    wrong += ["memory"] * (not isinstance(known.get("memory"), int | None))
    wrong += ["tflite"] * (not isinstance(known.get("tflite"), bool | None))
    wrong += ["store_options"] * (not isinstance(known["store_options"], dict))
    if wrong:
        raise ValueError(f"{wrong[0]} is {known[wrong[0]]!r}")
    return Settings(**known)

"""Where images come from. Pure."""

from __future__ import annotations


def repository(image: str) -> str:
    """An image's name without its tag and digest."""
    name, _, _ = image.partition("@")
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def full_image(image: str, registry: str | None) -> str:
    """``image`` from ``registry``, unless it names one itself: a first part with a dot or a port, or ``localhost``."""
    first, slash, _ = image.partition("/")
    names_one = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return image if registry is None or names_one else f"{registry}/{image}"

"""Credentials of object stores: they pass through the environment to the agents, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

FAMILIES = ("AWS_", "AZURE_", "GOOGLE_")
"""What the variables begin with from which `obstore` takes credentials."""


def is_credential(name: str) -> bool:
    """Whether a variable may carry credentials."""
    return name.startswith(FAMILIES)


def has_credentials(environment: Mapping[str, str]) -> bool:
    """Whether an object store can be asked from here at all; without, a client would look for a cloud's own service."""
    return any(map(is_credential, environment))


def for_process(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of one process of a unit: model servers and Envoy need no credentials."""
    return {key: value for key, value in environment.items() if name == "agent" or not is_credential(key)}

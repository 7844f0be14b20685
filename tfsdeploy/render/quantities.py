"""Amounts in the notation of Kubernetes, which fleet files use for every target, as numbers. Pure."""

from __future__ import annotations

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def cores_of(cpu: str) -> float:
    """A number of cores in Kubernetes' notation, such as ``500m``, as a number."""
    return float(cpu.removesuffix("m")) / 1000 if cpu.endswith("m") else float(cpu)


def bytes_of(memory: str) -> float:
    """An amount of memory in Kubernetes' notation, such as ``512Mi``, as a number."""
    amount = memory.rstrip("kKMGTi")
    whole, _, part = amount.partition(".")
    # In integers, divided once: ``128.384k`` as floats would be a byte less than it says.
    return int(whole + part) * _UNITS[memory.removeprefix(amount)] / int("1" + "0" * len(part))

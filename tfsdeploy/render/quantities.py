"""Amounts in the notation of Kubernetes, which fleet files use for every target, as numbers. Pure."""

from __future__ import annotations

_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def cores_of(cpu: str) -> float:
    """A number of cores in Kubernetes' notation, such as ``500m``, as a number."""
    return float(cpu.removesuffix("m")) / 1000 if cpu.endswith("m") else float(cpu)


def bytes_of(memory: str) -> float:
    """An amount of memory in Kubernetes' notation, such as ``512Mi``, as a number."""
    amount = memory.rstrip("kKMGTi")
    return float(amount) * _UNITS[memory.removeprefix(amount)]

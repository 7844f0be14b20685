"""A figure of the table: what was measured, what it should reach, and whether it does."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    what: str
    reach: str
    measured: str
    reached: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.measured} (reach: {self.reach}) {self.word}"

    @property
    def word(self) -> str:
        """The verdict."""
        return "reached" if self.reached else "NOT REACHED"


def percentile(what: str, took: Sequence[float], reach: float, share: float = 0.99) -> Figure:
    """A percentile of seconds, the median beside it; of few values the 99th percentile is the worst.

    Args:
        what: what took so long.
        took: seconds, one a repeat.
        reach: seconds that the percentile may have.
        share: which percentile, as a share of 1.
    """
    ordered = sorted(took)
    value = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    name = f"{what}, p{100 * share:.0f} of {len(took)}"
    return Figure(name, f"{reach} s", f"{value:.3f} s (p50 {statistics.median(took):.3f})", value <= reach)


def table(figures: Sequence[Figure]) -> str:
    """All rows below each other."""
    widths = [max(len(getattr(figure, name)) for figure in figures) for name in ("what", "reach", "measured")]
    return "\n".join(
        f"{figure.what:<{widths[0]}}  {figure.reach:>{widths[1]}}  {figure.measured:>{widths[2]}}  {figure.word}"
        for figure in figures
    )


def told(figures: list[Figure]) -> list[Figure]:
    """As they come: the whole takes long."""
    for figure in figures:
        print(f"  {figure}", flush=True)
    return figures


def machine() -> str:
    """The machine that was measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"

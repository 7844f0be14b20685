"""`make bench`: the table of docs/performance.md for the machine that it runs on; half an hour with the full counts."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from benchmarks import fleet, gateway
from benchmarks.fleet import Figure


def main() -> int:
    """Measure and print; the exit code says whether everything was reached."""
    print(_machine(), flush=True)
    figures: list[Figure] = []
    for mode in ("embedded", "like-tfs"):
        with fleet.live(mode) as live:
            if mode == "embedded":
                figures += _told(fleet.commands(live))
                figures += _told(fleet.at_rest(live))
                figures += _told(fleet.switches(live))
                figures += _told([fleet.canary(live)])
            figures += _told([fleet.losses(live)])
    gateway.main()
    print()
    width = max(len(figure.what) for figure in figures)
    for figure in figures:
        print(f"{figure.what:<{width}}  {figure.reach:>14}  {figure.measured:>24}  {_word(figure)}")
    return 0 if all(figure.reached for figure in figures) else 1


def _told(figures: list[Figure]) -> list[Figure]:
    """As they come: the whole takes long."""
    for figure in figures:
        print(f"  {figure.what}: {figure.measured} (reach: {figure.reach}) {_word(figure)}", flush=True)
    return figures


def _word(figure: Figure) -> str:
    return "reached" if figure.reached else "NOT REACHED"


def _machine() -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"


if __name__ == "__main__":
    sys.exit(main())

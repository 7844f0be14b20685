"""`make bench`: the table of docs/performance.md for the machine that it runs on; about 30 minutes in full."""

from __future__ import annotations

import sys

from benchmarks import counts, fleet, gateway, render, server
from benchmarks.figure import Figure, machine, table, told


def main() -> int:
    """Measure and print; the exit code says whether everything was reached."""
    print(machine(), flush=True)
    figures: list[Figure] = []
    for mode in ("embedded", "like-tfs"):
        with fleet.live(mode) as live:
            if mode == "embedded":
                figures += told(fleet.commands(live))
                figures += told(fleet.at_rest(live))
                figures += told(fleet.switches(live))
                figures += told([fleet.canary(live)])
            figures += told([fleet.losses(live)])
    figures += told(gateway.figures())
    figures += told(render.figures())
    figures += told(server.figures())
    figures += told(counts.figures())
    print(f"\n{machine()}\n{table(figures)}")
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())

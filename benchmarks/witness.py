"""Tells when gateways say that a split is effective, inside their network: `python -m benchmarks.witness MODEL URL…`.

One line a change, of the monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import json
import sys
import time

from tfsdeploy.deploy.watch import Watch
from tfsdeploy.targets.base import GatewayAddress


class Seen:
    """The gateways, as a `Watch` asks for them."""

    fleet = "seen"

    def __init__(self, urls: list[str]) -> None:
        self._gateways = tuple(GatewayAddress(url, url, "", "") for url in urls)

    def gateways(self) -> tuple[GatewayAddress, ...]:
        """Those that were named."""
        return self._gateways


def main(model: str, *urls: str) -> None:
    """Tell until nobody reads any more."""
    told: dict[str, dict[int, int]] = {}
    with Watch(Seen(list(urls)), replicas=False) as watch:  # type: ignore[arg-type]
        while True:
            view, now = watch.view(), time.monotonic()
            for name, status in view.gateways.items():
                split = dict(status.models[model].traffic) if status is not None and model in status.models else {}
                if split and told.get(name) != split:
                    told[name] = split
                    print(json.dumps({"gateway": name, "split": split, "at": now}), flush=True)
            watch.wait(1.0)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)

"""A stream of requests from a machine of the cluster: `python -m tests.cluster.load REST GRPC RATE`.

Reads ``{"MODEL": [VERSIONS]}`` a line: the versions that may answer requests sent from then on. Begins with the first
line, ends with the input, and prints what became of every request.
"""

from __future__ import annotations

import json
import sys
import time

from tests.scenarios.stream import ANSWER_LIMIT, Requests
from tfsdeploy.deploy.load import Background, Stream


def main() -> None:
    """Run until the input ends."""
    rest, grpc, rate = sys.argv[1:]
    requests = Requests(float(rate))
    for model, versions in json.loads(sys.stdin.readline()).items():
        requests.add(model, set(versions))
    running = Background(Stream(rest, grpc, requests.sequence, float(rate), timeout=ANSWER_LIMIT))
    begun = time.monotonic()
    with running:
        while line := sys.stdin.readline():
            for model, versions in json.loads(line).items():
                requests.now(model, set(versions))
            print("{}", flush=True)
        lasted = time.monotonic() - begun
    tally = running.tally
    print(
        json.dumps(
            {
                "asked": tally.asked,
                "answered": tally.answered,
                "failed": tally.failed,
                "complete": tally.complete and tally.asked >= float(rate) * (lasted - 5),
                "kinds": dict(tally.kinds),
                "failures": tally.failures,
            }
        )
    )


if __name__ == "__main__":
    main()

"""The stream of requests that runs through every scenario, and what it must have found."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.scenarios.live import LiveFleet
from tfsdeploy.deploy.load import Ask, Background, Stream, Tally
from tfsdeploy.protocol import wire

ANSWER_LIMIT = 20.0
"""Seconds that an answer may take on a busy machine: what is lost never comes."""

Z = 4.9
"""Standard deviations that hold all but a millionth of a normal distribution."""


@dataclass
class Requests:
    """What a stream asked for and what it was answered."""

    rate: float
    asks: dict[str, slice] = field(default_factory=dict)
    sequence: list[Ask] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    lasted: float = 0.0

    def add(self, key: str, allowed: set[int]) -> None:
        """Ask for ``key`` too (see `asks_of`)."""
        self.answers[key] = Counter()
        begun = len(self.sequence)
        self.sequence += asks_of(key, allowed, self.answers[key])
        self.asks[key] = slice(begun, len(self.sequence))

    def now(self, key: str, allowed: set[int]) -> None:
        """From this moment on, requests for ``key`` are sent that only these versions may answer."""
        self.sequence[self.asks[key]] = asks_of(key, allowed, self.answers[key])

    def check(self, *, lost_in_a_gateway: bool = False) -> None:
        """Every request that was due was sent and answered rightly.

        Args:
            lost_in_a_gateway: a gateway was killed outright, so what was in flight inside it may be lost
                (a connection that broke, never a wrong answer).
        """
        tally = self.tally
        assert tally.complete, (tally.asked, tally.sent, tally.answered, tally.failed)
        # An open loop is behind for a moment at most; on a busy machine, at the very end, for some seconds.
        assert tally.asked >= max(1, self.rate * (self.lasted - 5)), (tally.asked, self.rate, self.lasted)
        failures = Counter(tally.kinds)
        if lost_in_a_gateway:
            broken = [kind for kind in failures if "connection" in kind or "UNAVAILABLE" in kind]
            lost = sum(failures.pop(kind) for kind in broken)
            assert lost <= 20, (lost, tally.failures)
        assert not failures, (failures, tally.failures)


def asks_of(key: str, allowed: Collection[float], seen: Counter[int]) -> Iterator[Ask]:
    """The requests of one model: ``m``, ``m/7`` (that version) or ``m@stable`` (that label)."""

    def checked(value: float) -> str | None:
        seen[int(value)] += 1
        return None if value in allowed else f"{key} answered {value}, not one of {allowed}"

    def rest(body: bytes) -> str | None:
        predictions = json.loads(body)["predictions"]
        return checked(float(predictions[0])) if len(predictions) == 1 else f"not one prediction: {body!r}"

    def grpc(body: bytes) -> str | None:
        outputs = wire.PredictResponse.FromString(body).outputs
        values = wire.tensor_values(next(iter(outputs.values())))
        return checked(float(values[0])) if len(values) == 1 else f"not one prediction: {values!r}"

    path, request = f"/v1/models/{key}", wire.PredictRequest()
    request.model_spec.name = key
    for mark, word in (("/", "versions"), ("@", "labels")):
        if mark in key:
            request.model_spec.name, _, which = key.partition(mark)
            path = f"/v1/models/{request.model_spec.name}/{word}/{which}"
            if mark == "/":
                request.model_spec.version.value = int(which)
            else:
                request.model_spec.version_label = which
    request.inputs["x"].CopyFrom(wire.tensor([1.0]))
    yield Ask("rest", f"{path}:predict", b'{"instances": [1.0]}', rest)
    yield Ask("grpc", wire.PREDICT, request.SerializeToString(), grpc)


@contextmanager
def stream(
    fleet: LiveFleet, models: dict[str, set[int]], *, rate: float = 40, seconds: float = 0
) -> Iterator[Requests]:
    """Requests, REST and gRPC, from entering to leaving, and for ``seconds`` at least.

    Args:
        fleet: whose gateway is asked.
        models: model (see `asks_of`) -> the answers that are right, until `Requests.now` says otherwise.
        rate: requests a second, all together.
        seconds: how long at least.
    """
    if os.environ.get("TFSDEPLOY_SOAK"):
        rate, seconds = rate * 2, max(seconds, 30)
    requests = Requests(rate)
    for key, allowed in models.items():
        requests.add(key, allowed)
    running = Background(Stream(fleet.rest, fleet.grpc, requests.sequence, rate, timeout=ANSWER_LIMIT))
    with running:
        _wait(lambda: running.tally.seconds or running.tally.failed, "the first answers")
        begun = time.monotonic()
        yield requests
        _wait(lambda: time.monotonic() - begun >= seconds, "the end of the stream", limit=seconds + 5)
        requests.lasted = time.monotonic() - begun
    requests.tally = running.tally


def _wait(check: Callable[[], object], what: str, limit: float = 60) -> None:
    end = time.monotonic() + limit
    while not check():
        assert time.monotonic() < end, f"not in {limit:.0f} s: {what}"
        time.sleep(0.02)


def within_binomial_bounds(hits: int, of: int, share: float) -> bool:
    """Whether ``hits`` is what ``share`` gives in ``of`` trials, in all cases but one of a million."""
    return abs(hits - of * share) <= Z * math.sqrt(of * share * (1 - share)) + 1

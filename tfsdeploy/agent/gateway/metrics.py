"""What a gateway agent measures of itself, beside all that its Envoy measures."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from tfsdeploy.protocol.agents import GatewayModel, ReplicaStatus

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """The figures of one agent, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="tfsdeploy_gateway_agent", registry=self._registry)
        self.generation = self._gauge("generation", "The newest release that was acted on.")
        self.members = self._gauge("members", "Replicas that answer and are not leaving.")
        self.silent = self._gauge("silent", "Replicas from which nothing comes.")
        self.acknowledged = self._gauge("acknowledged", "Whether Envoy runs and uses the files as they stand.")
        self.lua_errors = self._gauge("lua_errors", "Errors in the gateway's scripts since Envoy started.")
        self.switch_seconds = Histogram(
            "tfsdeploy_gateway_switch_seconds",
            "From a decision until Envoy acknowledged its routes.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.rejections = self._counter("rejections", "Configurations that Envoy refused; the one before stays.")
        self.invalid_releases = self._counter("invalid_releases", "Release documents that could not be followed.")
        self._waiting = self._gauge("barrier_waiting", "Replicas that a model's barrier waits for.", "model")
        self._held = self._gauge("barrier_held_seconds", "For how long a model's barrier has been closed.", "model")
        self._since: dict[str, float] = {}

    def replicas(self, statuses: Iterable[ReplicaStatus | None]) -> None:
        """Take note of who is there."""
        known = list(statuses)
        self.silent.set(sum(status is None for status in known))
        self.members.set(sum(status is not None and not status.leaving for status in known))

    def models(self, models: Mapping[str, GatewayModel]) -> None:
        """Take note of every model's barrier."""
        now = time.monotonic()
        waiting = {name: len(model.waiting_for) for name, model in models.items() if model.waiting_for}
        self._since = {name: self._since.get(name, now) for name in waiting}
        self._waiting.clear()
        for name, count in waiting.items():
            self._waiting.labels(name).set(count)

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        self._held.clear()
        for name, since in self._since.items():
            self._held.labels(name).set(time.monotonic() - since)
        return generate_latest(self._registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"tfsdeploy_gateway_{name}", what, labels, registry=self._registry)

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(f"tfsdeploy_gateway_{name}", what, registry=self._registry)

"""What a replica agent measures, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tfsdeploy.agent.replica.decide import Decision
from tfsdeploy.agent.replica.memory import Key, Memory
from tfsdeploy.protocol.agents import State

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class _Versions(Collector):
    """The states of all versions, made when they are asked for: there may be thousands."""

    def __init__(self) -> None:
        self.decision = Decision(Memory())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """1 for the state that each version is in, 0 for the others."""
        family = GaugeMetricFamily(
            "tfsdeploy_replica_version_state", "Where a version stands.", labels=("model", "version", "state")
        )
        for model, versions in self.decision.models.items():
            for version, status in versions.items():
                for state in State:
                    family.add_metric((model, str(version), state.value), float(status.state is state))
        yield family


class Metrics:
    """The figures of one agent, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="tfsdeploy_replica_agent", registry=self._registry)
        self._versions = _Versions()
        self._registry.register(self._versions)
        self._loading: dict[Key, float] = {}
        self._generation = self._gauge("generation", "The release that is followed.")
        self._ready = self._gauge("ready", "Whether everything that could be loaded is loaded.")
        self._up = self._gauge("server_up", "Whether the model server answers.")
        self._load_seconds = self._histogram("load_seconds", "From a version's listing until it is AVAILABLE.")
        self.verify_seconds = self._histogram("verify_seconds", "What the verification of a version took.")
        self._fetch_seconds = self._histogram("fetch_seconds", "What fetching a version from the object store took.")
        self._fetched_bytes = self._counter("fetched_bytes", "What was fetched from the object store.")
        self.deaths = self._counter("server_deaths", "Times that the model server ended.")
        self.invalid_releases = self._counter("invalid_releases", "Release documents that could not be followed.")

    def fetched(self, size: int, seconds: float) -> None:
        """Take note of a version that was fetched."""
        self._fetched_bytes.inc(size)
        self._fetch_seconds.observe(seconds)

    def tell(self, generation: int, up: bool, decision: Decision) -> None:
        """The figures of a moment."""
        self._generation.set(generation)
        self._ready.set(decision.ready)
        self._up.set(up)
        self._versions.decision = decision
        self._time(decision)

    def page(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self._registry)

    def _time(self, decision: Decision) -> None:
        now = time.monotonic()
        states = {(m, v): status.state for m, versions in decision.models.items() for v, status in versions.items()}
        for key in [key for key in self._loading if states.get(key) is not State.LOADING]:
            began = self._loading.pop(key)
            if states.get(key) is State.AVAILABLE:
                self._load_seconds.observe(now - began)
        for key, state in states.items():
            if state is State.LOADING:
                self._loading.setdefault(key, now)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"tfsdeploy_replica_{name}", what, registry=self._registry)

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(f"tfsdeploy_replica_{name}", what, registry=self._registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(f"tfsdeploy_replica_{name}", what, buckets=_SECONDS, registry=self._registry)

"""What a replica agent measures, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from tfsdeploy.agent.replica.decide import Decision
from tfsdeploy.protocol.agents import State


class Metrics:
    """The agent's own registry: nothing of the process-wide one, so that two agents can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._generation = Gauge("tfsdeploy_generation", "The release that is followed.", registry=self._registry)
        self._up = Gauge("tfsdeploy_server_up", "Whether the model server answers.", registry=self._registry)
        self._versions = Gauge(
            "tfsdeploy_version_state", "1 for the state that a version is in.", ("model", "version", "state"),
            registry=self._registry,
        )  # fmt: skip
        self.deaths = Counter("tfsdeploy_server_deaths", "Times that the server went away.", registry=self._registry)
        self.invalid_releases = Counter(
            "tfsdeploy_invalid_releases", "Release documents that were not followed.", registry=self._registry
        )

    def tell(self, generation: int, up: bool, decision: Decision) -> None:
        """The figures of a moment."""
        self._generation.set(generation)
        self._up.set(up)
        self._versions.clear()
        for model, versions in decision.models.items():
            for version, status in versions.items():
                for state in State:
                    self._versions.labels(model, str(version), state.value).set(status.state is state)

    def page(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)

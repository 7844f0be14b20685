"""What a gateway knows: which replica serves which version of which model, and how traffic is split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One replica's addresses.

    Attributes:
        replica: its name.
        rest: ``host:port`` of its REST API.
        grpc: ``host:port`` of its gRPC API.
    """

    replica: str
    rest: str
    grpc: str


@dataclass(frozen=True, slots=True)
class ModelTable:
    """One model's part of the table; mappings are kept in ascending order, so equal tables give equal bytes.

    Attributes:
        traffic: the effective split, version -> percent, sum 100; empty while nothing is effective yet.
        labels: label -> version; resolved at the gateway.
        versions: version -> the replicas that report this very version AVAILABLE; it may be there without any.
    """

    traffic: Mapping[int, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, tuple[Endpoint, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "traffic", dict(sorted(self.traffic.items())))
        object.__setattr__(self, "labels", dict(sorted(self.labels.items())))
        object.__setattr__(
            self, "versions", {version: tuple(sorted(found)) for version, found in sorted(self.versions.items())}
        )

    def weights(self) -> dict[int, int]:
        """The weights to route by: a version that no replica has gets none as long as another weighted one is there.

        Returns:
            version -> weight above 0, only versions of the table. When no weighted version has a replica, they all keep
            their weight, so that requests are refused as unavailable instead of sent to a version without traffic.
        """
        known = {version: weight for version, weight in self.traffic.items() if weight > 0 and version in self.versions}
        served = {version: weight for version, weight in known.items() if self.versions[version]}
        return served or known

    def replicas(self) -> tuple[Endpoint, ...]:
        """Every replica that has the model, whichever version."""
        return tuple(sorted({endpoint for found in self.versions.values() for endpoint in found}))


@dataclass(frozen=True, slots=True)
class Table:
    """All models of a fleet as one gateway sees them, sorted by name."""

    models: Mapping[str, ModelTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", dict(sorted(self.models.items())))

    def replicas(self) -> tuple[Endpoint, ...]:
        """Every replica that has any model."""
        return tuple(sorted({endpoint for model in self.models.values() for endpoint in model.replicas()}))

    def to_json(self) -> str:
        """The table as one line of JSON; equal tables give equal text."""
        return json.dumps({"models": {name: _model_to_plain(model) for name, model in self.models.items()}})

    @staticmethod
    def from_json(text: str) -> Table:
        """The table that :meth:`to_json` wrote.

        Raises:
            ValueError: the text is nonsense.
        """
        try:
            return Table({str(name): _model_from_plain(plain) for name, plain in json.loads(text)["models"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"gateway table: {type(error).__name__}: {error}") from error


def union(old: Table, new: Table) -> Table:
    """The table whose clusters carry the routes of both, for the time in which Envoy moves from one to the other.

    Order: clusters(union) → acknowledged → routes(new) → acknowledged → a pause → clusters(new).

    Args:
        old: what Envoy has now.
        new: what it shall have.

    Returns:
        ``new`` and what only ``old`` has. A version of both has its new replicas at once, since leaving a cluster is
        graceful; only if none is left it keeps the old ones until no route leads there.
    """
    merged = {name: _merged(model, new.models.get(name, ModelTable())) for name, model in old.models.items()}
    return Table({**new.models, **merged})


def _merged(old: ModelTable, new: ModelTable) -> ModelTable:
    versions = {
        version: new.versions.get(version) or old.versions.get(version, ())
        for version in old.versions.keys() | new.versions.keys()
    }
    return ModelTable(traffic=new.traffic, labels=new.labels, versions=versions)


def _model_to_plain(model: ModelTable) -> dict[str, Any]:
    return {
        "traffic": {str(version): weight for version, weight in model.traffic.items()},
        "labels": dict(model.labels),
        "versions": {
            str(version): [[endpoint.replica, endpoint.rest, endpoint.grpc] for endpoint in found]
            for version, found in model.versions.items()
        },
    }


def _model_from_plain(plain: Mapping[str, Any]) -> ModelTable:
    return ModelTable(
        traffic={int(version): int(weight) for version, weight in plain["traffic"].items()},
        labels={str(label): int(version) for label, version in plain["labels"].items()},
        versions={
            int(version): tuple(Endpoint(str(replica), str(rest), str(grpc)) for replica, rest, grpc in found)
            for version, found in plain["versions"].items()
        },
    )

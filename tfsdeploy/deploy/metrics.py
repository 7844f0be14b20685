"""Request rate, errors and latency by model and version, from two scrapes of the gateways' Prometheus pages; pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Key = tuple[str, str]
"""Model and version; the version is ``any`` for requests that may be answered by any."""


@dataclass(slots=True)
class Counters:
    """What was counted for one model and version since the gateways started."""

    requests: float = 0.0
    errors: float = 0.0
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened between two scrapes.

    Attributes:
        rate: requests a second.
        errors: failed requests a second.
        p50_ms: milliseconds; None without requests. Upper bounds of Envoy's buckets.
        p99_ms: the same.
    """

    rate: float
    errors: float
    p50_ms: float | None
    p99_ms: float | None


def count(pages: Mapping[str, str]) -> dict[str, dict[Key, Counters]]:
    """The counters of each gateway's page; a page that is no Prometheus text counts nothing."""
    return {gateway: _count_page(page) for gateway, page in pages.items()}


def rates(
    before: Mapping[str, Mapping[Key, Counters]], after: Mapping[str, Mapping[Key, Counters]], seconds: float
) -> dict[Key, Rates]:
    """What happened in between, all gateways together.

    Args:
        before: an earlier `count`; a gateway that is not in it, or counted more there, has just started.
        after: a later one.
        seconds: between them.
    """
    sums: dict[Key, Counters] = defaultdict(Counters)
    for gateway, rows in after.items():
        for key, now in rows.items():
            then = before.get(gateway, {}).get(key, Counters())
            if now.requests < then.requests:
                then = Counters()
            total = sums[key]
            total.requests += now.requests - then.requests
            total.errors += now.errors - then.errors
            for bound, number in now.buckets.items():
                total.buckets[bound] += number - then.buckets.get(bound, 0.0)
    return {
        key: Rates(
            total.requests / seconds,
            total.errors / seconds,
            percentile(total.buckets, 0.50),
            percentile(total.buckets, 0.99),
        )
        for key, total in sums.items()
    }


def percentile(buckets: Mapping[float, float], share: float) -> float | None:
    """The upper bound of the cumulative bucket that holds ``share`` (0 to 1) of the requests; None without any."""
    whole = max(buckets.values(), default=0.0)
    if whole <= 0:
        return None
    return min(bound for bound, number in buckets.items() if number >= share * whole)


def _count_page(page: str) -> dict[Key, Counters]:
    found: dict[Key, Counters] = defaultdict(Counters)
    for name, labels, value in _samples(page):
        if "tfs_model" not in labels or "tfs_version" not in labels:
            continue
        counters = found[labels["tfs_model"], labels["tfs_version"]]
        if name == "envoy_cluster_upstream_rq_total":
            counters.requests += value
        elif name == "envoy_cluster_upstream_rq_xx" and labels.get("envoy_response_code_class") == "5":
            counters.errors += value
        elif name == "envoy_cluster_upstream_rq_time_bucket":
            counters.buckets[float(labels["le"])] += value
        elif name.startswith("envoy_cluster_grpc_") and _is_grpc_failure(name.removeprefix("envoy_cluster_grpc_")):
            counters.errors += value
    return found


def _is_grpc_failure(code: str) -> bool:
    """Whether a status number is the server's fault: unknown, deadline, exhausted, internal, unavailable, data loss."""
    return code in ("2", "4", "8", "13", "14", "15")


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in page.splitlines():
        sample = _SAMPLE.match(line)
        if sample is not None:
            try:
                value = float(sample["value"])
            except ValueError:
                continue
            yield sample["name"], dict(_LABEL.findall(sample["labels"])), value

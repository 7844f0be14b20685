"""Rates from two scrapes of Envoy's Prometheus page."""

from __future__ import annotations

from tfsdeploy.deploy.metrics import count, rates


def page(requests: int, errors: int, fast: int, version: str = "7") -> str:
    labels = f'envoy_cluster_name="x",tfs_model="ranker",tfs_protocol="rest",tfs_version="{version}"'
    return f"""# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{{{labels}}} {requests}
envoy_cluster_upstream_rq_total{{envoy_cluster_name="other"}} 99
envoy_cluster_upstream_rq_xx{{envoy_response_code_class="5",{labels}}} {errors}
envoy_cluster_upstream_rq_xx{{envoy_response_code_class="2",{labels}}} {requests - errors}
envoy_cluster_upstream_rq_time_bucket{{{labels},le="5"}} {fast}
envoy_cluster_upstream_rq_time_bucket{{{labels},le="250"}} {requests}
envoy_cluster_upstream_rq_time_bucket{{{labels},le="+Inf"}} {requests}
"""


def test_rates_of_two_gateways() -> None:
    before = count({"g1": page(100, 0, 100), "g2": page(50, 1, 50)})
    after = count({"g1": page(140, 0, 138), "g2": page(60, 2, 60)})
    found = rates(before, after, 2.0)["ranker", "7"]
    assert (found.rate, found.errors, found.p50_ms, found.p99_ms) == (25.0, 0.5, 5.0, 250.0)


def test_a_gateway_that_started_again_counts_from_zero() -> None:
    found = rates(count({"g1": page(1000, 0, 1000)}), count({"g1": page(10, 0, 10)}), 1.0)
    assert found["ranker", "7"].rate == 10.0


def test_nothing_happened() -> None:
    same = count({"g1": page(10, 0, 10)})
    assert rates(same, same, 1.0)["ranker", "7"].p50_ms is None
    assert count({"g1": "<html>no such page</html> {} nan"}) == {"g1": {}}

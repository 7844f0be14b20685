"""What the gateway measures and logs: by model and version, without bodies or secrets."""

from __future__ import annotations

import re
import uuid

from tests.gateway.harness import PREDICTION, Gateway, wait
from tests.gateway.wire import request


def sample(text: str, name: str, **labels: str) -> float:
    """One Prometheus sample."""
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if found and found[1] == name:
            there = dict(re.findall(r'(\w+)="([^"]*)"', found[2]))
            if labels.items() <= there.items():
                return float(found[3])
    return 0.0


def test_prometheus_has_requests_errors_and_latency_of_each_model_and_version(running: Gateway) -> None:
    ours = {"tfs_model": "measured", "tfs_version": "3"}
    rest, over_grpc = {**ours, "tfs_protocol": "rest"}, {**ours, "tfs_protocol": "grpc"}
    running.rest("POST", "/v1/models/measured:predict", b"{}")
    running.rest("POST", "/v1/models/measured:predict", b"{}", {"x-fail": "400"})
    running.rpc(PREDICTION + "Predict", request("measured"))
    running.rpc(PREDICTION + "Predict", request("measured"), x_fail="INVALID_ARGUMENT")

    def figures() -> list[float]:
        text = running.admin("/stats/prometheus")
        return [
            sample(text, "envoy_cluster_upstream_rq_total", **rest),
            sample(text, "envoy_cluster_upstream_rq_total", **over_grpc),
            sample(text, "envoy_cluster_upstream_rq_xx", envoy_response_code_class="4", **rest),
            sample(text, "envoy_cluster_grpc_3", **over_grpc),
            sample(text, "envoy_cluster_upstream_rq_time_count", **rest),
            sample(text, "envoy_cluster_upstream_rq_time_count", **over_grpc),
        ]

    # Histograms are merged once in a flush interval (5 s).
    wait("the statistics count them", lambda: figures() == [2, 2, 1, 1, 2, 2])


def test_the_access_log_says_who_answered_and_holds_no_secret(running: Gateway) -> None:
    name = str(uuid.uuid4())
    headers = {"x-request-id": name, "authorization": "Bearer geheim", "x-fail": "400"}
    running.rest("POST", "/v1/models/m/versions/9:predict?token=geheim", b'{"geheim": 1}', headers)
    over_grpc = str(uuid.uuid4())
    running.rpc(PREDICTION + "Predict", request("m", 9), x_request_id=over_grpc, x_fail="INVALID_ARGUMENT")

    def lines() -> list[dict[str, object]]:
        found = [line for line in running.log() if line["request_id"] in (name, over_grpc)]
        return found if len(found) == 2 else []

    rest, rpc = wait("both are logged", lines)
    (replica,) = running.table.models["m"].versions[9]
    assert (rest["model"], rest["version"], rest["code"]) == ("m", "9", 400)
    assert (rpc["model"], rpc["version"], rpc["grpc"]) == ("m", "9", "InvalidArgument")
    assert (rest["replica"], rpc["replica"]) == (replica.rest, replica.grpc)
    assert rest["path"] == "/v1/models/m/versions/9:predict"
    assert rest["ms"] >= 0
    assert "geheim" not in (running.folder / "stdout").read_text()

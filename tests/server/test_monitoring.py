"""What the server tells about itself beyond the original: readiness, and which version answered."""

from __future__ import annotations

from pathlib import Path

import grpc

from tests.server.live import Live, config, specific, wait, write
from tests.server.samples import write_adder
from tests.server.test_recorded import _message
from tfsdeploy.protocol.model_config import All, ModelConfig, Specific
from tfsdeploy.protocol.rest import StatusRow
from tfsdeploy.server.policy import State
from tfsdeploy.server.reload import unready


def test_ready_is_when_all_that_is_configured_is_available() -> None:
    rows = (StatusRow(2, State.AVAILABLE), StatusRow(1, State.LOADING))
    every, one = ModelConfig("m", "/m", All()), ModelConfig("m", "/m", Specific((2,)))
    assert unready(every, frozenset({1, 2}), rows) == ["m/1: LOADING"]
    assert unready(one, frozenset({2}), rows) == []
    assert unready(ModelConfig("m", "/m", Specific((2, 3))), frozenset({2}), rows) == ["m/3: not there"]
    assert unready(every, frozenset(), ()) == ["m: no version"]


def test_readyz_and_versions_on_the_page(tmp_path: Path) -> None:
    for version in (1, 2):
        write_adder(tmp_path / "adder" / str(version), version)
    file = tmp_path / "models.config"
    write(file, config(tmp_path, adder=specific(1, 2)))
    (tmp_path / "monitoring").write_text("prometheus_config { enable: true }")
    flags = [f"--model_config_file={file}", f"--monitoring_config_file={tmp_path / 'monitoring'}"]
    flags.append("--model_config_file_poll_wait_seconds=1")
    with Live(tmp_path / "log", *flags, "--readyz", "--metrics_by_version") as server:
        wait("ready", lambda: server.listens() and server.ask("GET", "/readyz") == (200, "text/plain", b"ready\n"))
        assert server.available("adder") == {1, 2}
        assert server.predict("adder/versions/1", 1.0) == 2.0
        tensor = "{ dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1 }"
        text = f'model_spec {{ name: "adder" }} inputs {{ key: "x" value {tensor} }}'
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            body = _message("PredictRequest", text).SerializeToString()
            channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(body, timeout=20)
        server.ask("POST", "/v1/models/adder/versions/77:predict", b'{"instances": [1.0]}')
        page = server.ask("GET", "/monitoring/prometheus/metrics")[2].decode()
        count = ":tensorflow:serving:request_count"
        assert f'{count}{{model_name="adder",status="OK",version="1"}} 1' in page
        assert f'{count}{{model_name="adder",status="OK",version="2"}} 1' in page
        assert f'{count}{{model_name="adder",status="NOT_FOUND",version=""}} 1' in page
        assert ':request_latency_count{model_name="adder",API="Predict",entrypoint="GRPC",version="2"} 1' in page
        write(file, config(tmp_path, adder=specific(1, 2, 3)))
        not_there = (503, "text/plain", b"adder/3: not there\n")
        wait("the third is missed", lambda: server.ask("GET", "/readyz") == not_there)

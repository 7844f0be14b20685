"""What the server tells about itself beyond the original: readiness, and which version answered."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path

import grpc

from tests.server.arrays import core_of
from tests.server.live import Live, config, specific, wait, write
from tests.server.samples import write_adder
from tests.server.test_recorded import _message
from tfsdeploy.protocol.model_config import All, ModelConfig, Specific
from tfsdeploy.protocol.rest import StatusRow
from tfsdeploy.server.http_reader import Reader
from tfsdeploy.server.metrics import FEW_SERIES, Asked, Metrics
from tfsdeploy.server.pace import WouldWait
from tfsdeploy.server.policy import State
from tfsdeploy.server.reload import unready
from tfsdeploy.server.rest import Rest
from tfsdeploy.server.workers import Workers


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
        assert ':saved_model:read:api{api_label="cc_load"} 2\n' in page
        assert ':saved_model:read:count{write_version="2"} 2\n' in page
        assert ":graph_run_output_tensor_bytes_sum{} 8\n" in page, "one float of each of two requests"
        write(file, config(tmp_path, adder=specific(1, 2, 3)))
        not_there = (503, "text/plain", b"adder/3: not there\n")
        wait("the third is missed", lambda: server.ask("GET", "/readyz") == not_there)


# What a page of the original's is made of: kind, labels, and the first and last bound of its buckets.
FAMILIES = {
    "cc:saved_model:load_attempt_count": ("counter", ["model_path", "status"], None),
    "cc:saved_model:load_latency": ("counter", ["model_path"], None),
    "cc:saved_model:load_latency_by_stage": ("histogram", ["model_path", "stage"], ("10", "1.54814e+10", 38)),
    "core:direct_session_runs": ("counter", [], None),
    "core:graph_build_calls": ("counter", [], None),
    "core:graph_build_time_usecs": ("counter", [], None),
    "core:graph_run_input_tensor_bytes": ("histogram", [], ("1", "6.71089e+07", 15)),
    "core:graph_run_output_tensor_bytes": ("histogram", [], ("1", "6.71089e+07", 15)),
    "core:graph_run_time_usecs": ("counter", [], None),
    "core:graph_run_time_usecs_histogram": ("histogram", [], ("1000", "5.24288e+08", 21)),
    "core:graph_runs": ("counter", [], None),
    "core:saved_model:read:api": ("counter", ["api_label"], None),
    "core:saved_model:read:count": ("counter", ["write_version"], None),
    "core:saved_model:read:fingerprint": ("gauge", [], None),
    "core:saved_model:read:path": ("gauge", [], None),
    "core:session_created": ("gauge", [], None),
    "serving:batching_session:queuing_latency": ("histogram", ["thread_pool_name"], ("100", "1.09205e+06", 53)),
    "serving:batching_session:wrapped_run_count": ("counter", [], None),
    "serving:model_warmup_latency": ("histogram", ["model_path", "status"], ("10", "1.47476e+09", 34)),
    "serving:model_warmup_records_read": ("counter", ["model_path", "status"], None),
    "serving:request_count": ("counter", ["model_name", "status"], None),
    "serving:request_latency": ("histogram", ["model_name", "API", "entrypoint"], ("10", "1.47476e+09", 34)),
    "serving:runtime_latency": ("histogram", ["model_name", "API", "runtime"], ("10", "1.47476e+09", 34)),
}


def test_names_labels_and_buckets_are_the_original_s() -> None:
    metrics = Metrics()
    metrics.count(Asked("predict", "REST", "m", version=1, runtime=0.001), "OK")
    metrics.loaded("/m/1", 0.5, (0.2, 0.1))
    metrics.warmed_up("/m/1", 0.1, 0)
    metrics.read("1")
    with metrics.build():
        pass
    metrics.ran(0.001, 12, 12)
    metrics.batched("pool", [0.001])
    page = metrics.page()
    names = re.findall(r"^# TYPE (\S+) \w+$", page, re.MULTILINE)
    assert names == sorted(set(names))
    assert len(names) == 150
    found = {}
    for name, kind in re.findall(r"^# TYPE :tensorflow:(\S+) (\w+)$", page, re.MULTILINE):
        part = "_bucket" if kind == "histogram" else ""
        rows = re.findall(rf"^:tensorflow:{name}{part}{{(.*)}} \d+$", page, re.MULTILINE)
        if not rows:
            continue
        labels = [label for label in re.findall(r'(\w+)="', rows[0]) if label != "le"]
        bounds = list(dict.fromkeys(re.findall(r'le="([^"]*)"', "\n".join(rows))))
        found[name] = (kind, labels, (bounds[0], bounds[-2], len(bounds)) if bounds else None)
    assert found == FAMILIES
    assert list(found) == sorted(found)


def test_a_failed_request_has_no_latency_and_a_failed_run_no_time() -> None:
    metrics = Metrics()
    metrics.count(Asked("predict", "REST", 'a"b'), "NOT_FOUND")
    metrics.ran(None, 12)
    metrics.loaded("/m/1", 0.5, None)
    lines = [line for line in metrics.page().splitlines() if not re.search("^#|_bucket|{} 0$", line)]
    assert lines == [
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/m/1",status="fail"} 1',
        ':tensorflow:cc:saved_model:load_latency{model_path="/m/1"} 500000',
        ":tensorflow:core:direct_session_runs{} 1",
        ":tensorflow:core:graph_run_input_tensor_bytes_sum{} 12",
        ":tensorflow:core:graph_run_input_tensor_bytes_count{} 1",
        ':tensorflow:core:saved_model:read:api{api_label="cc_load"} 1',
        ':tensorflow:serving:request_count{model_name="a\\"b",status="NOT_FOUND"} 1',
    ]


def test_what_is_gone_leaves_the_page_and_what_is_there_stays() -> None:
    metrics = Metrics(by_version=True)
    metrics.there = lambda: [("m", 1, "/m/1"), ("m", version, f"/m/{version}")]
    for version in range(1, 5 * FEW_SERIES):
        metrics.forget_gone()
        metrics.loaded(f"/m/{version}", 0.5, (0.2, 0.1))
        metrics.warmed_up(f"/m/{version}", 0.1, 7)
        metrics.count(Asked("predict", "REST", "m", version=version, runtime=0.001), "OK")
        metrics.count(Asked("predict", "REST", f"gone{version}"), "NOT_FOUND")
        metrics.count(Asked("predict", "REST"), "INVALID_ARGUMENT")
    page = metrics.page()
    assert len(re.findall("load_attempt_count{", page)) <= FEW_SERIES + 1
    assert len(re.findall("request_count{", page)) <= FEW_SERIES + 2
    assert len(re.findall("runtime_latency_count{", page)) <= FEW_SERIES + 1
    for path in ("/m/1", f"/m/{version}"):
        assert f'load_attempt_count{{model_path="{path}",status="success"}} 1' in page
        assert f'warmup_records_read{{model_path="{path}",status="OK"}} 7' in page
    assert f'request_count{{model_name="m",status="OK",version="{version}"}} 1' in page
    assert f'{{model_name="",status="INVALID_ARGUMENT",version=""}} {version}\n' in page


def test_of_what_is_there_everything_stays_however_much_it_is() -> None:
    metrics = Metrics()
    models = 10 * FEW_SERIES
    asked: list[int] = []

    def there() -> list[tuple[str, int, str]]:
        asked.append(1)
        return [(f"m{number}", 1, f"/m{number}/1") for number in range(models)]

    metrics.there = there
    for number in range(models):
        metrics.forget_gone()
        metrics.loaded(f"/m{number}/1", 0.5, (0.2, 0.1))
    assert metrics.page().count("load_attempt_count{") == models
    assert len(asked) <= 10, "not looked at again before it has doubled"


def test_the_page_and_readiness_wait_for_no_prediction_and_no_request_waits_for_them() -> None:
    metrics = Metrics()
    metrics.path = "/metrics"
    core = core_of({})
    core.manager.close()
    rest = Rest(core, metrics)
    assert rest.of_the_server("/metrics")
    assert rest.of_the_server("/readyz")
    assert not rest.of_the_server("/v1/models/m")
    reader = Reader()
    reader.feed(b"GET http://host:8501/metrics HTTP/1.1\r\n\r\n")
    asked = reader.take()
    assert asked
    assert rest.of_the_server(asked.path)

    async def answers() -> list[str]:
        loop = asyncio.get_running_loop()
        workers, gate = Workers(loop, 1, "test"), threading.Event()
        found: list[str] = []
        over: asyncio.Future[None] = loop.create_future()

        def slow(wait: bool) -> str:
            if not wait:
                raise WouldWait
            gate.wait(60)
            return "prediction"

        def page(wait: bool) -> str:
            assert threading.current_thread() is not threading.main_thread()
            return "page"

        def last(answer: str) -> None:
            found.append(answer)
            over.set_result(None)

        workers.answer(slow, last, small=True)
        workers.answer(page, lambda answer: (found.append(answer), gate.set()), small=True, aside=True)
        await over
        workers.close()
        return found

    assert asyncio.run(answers()) == ["page", "prediction"]


def counted(live: Live, *labels: str) -> int:
    """What the page says of the series that has these labels; 0: it has none."""
    found = [
        line for line in live.ask("GET", "/metrics")[2].decode().splitlines() if all(part in line for part in labels)
    ]
    return int(found[0].rpartition(" ")[2]) if found else 0


def test_what_is_no_inference_is_counted_too(live: Live) -> None:
    answered, malformed = (
        ('model_name="versions",API="",', "latency_count"),
        ('{model_name="",status="INVALID_ARGUMENT"}',),
    )
    preflight, ran = ('{model_name="",status="FAILED_PRECONDITION"}',), ("direct_session_runs{}",)
    series = (answered, malformed, preflight, ran)
    before = [counted(live, *labels) for labels in series]
    live.ask("GET", "/v1/models/versions")
    live.ask("GET", "/v1/models/versions/metadata")
    live.ask("PUT", "/v1/models/versions:predict")
    live.ask("OPTIONS", "/v1/models/versions:predict")
    live.predict("versions", 1.0)
    assert [counted(live, *labels) for labels in series] == [before[0] + 2, before[1] + 1, before[2] + 1, before[3] + 1]
    assert counted(live, "load_attempt_count", "/versions/3", 'status="success"') == 1
    assert counted(live, "load_latency_by_stage_count", "/versions/3", 'stage="restore_graph"') == 1
    assert counted(live, "runtime_latency_count", 'model_name="versions",API="Predict",runtime="TF1"') > 0


def test_a_model_that_ran_in_vain_has_a_runtime_and_no_latency(live: Live) -> None:
    runtime, latency = ("runtime_latency_count", 'multi",API="Predict"'), ("latency_count", 'multi",API="predict"')
    before = [counted(live, *labels) for labels in (runtime, latency)]
    body = b'{"signature_name": "scalar_out", "instances": [1.0, 2.0]}'
    assert live.ask("POST", "/v1/models/multi:predict", body)[0] == 400
    assert [counted(live, *labels) for labels in (runtime, latency)] == [before[0] + 1, before[1]]

"""Flags that change answers: one server with all that go together; and what sessions are made of."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2

from tests.server.live import Live
from tests.server.samples import write_tagged
from tests.server.test_warmup import predict, write
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import session_config
from tfsdeploy.server.flags import Flags


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server of a model of two graphs, with a warm-up file of two requests."""
    folder = tmp_path_factory.mktemp("flags")
    write_tagged(folder / "m" / "1")
    write(folder / "m" / "1", [predict(), predict()])
    (folder / "page").write_text('prometheus_config { enable: true path: "/page" }')
    (folder / "session").write_text("graph_options { optimizer_options { global_jit_level: OFF } }")
    with Live(
        folder / "log",
        f"--model_base_path={folder / 'm'}",
        f"--monitoring_config_file={folder / 'page'}",
        f"--tensorflow_session_config_file={folder / 'session'}",
        "--mixed_precision=bfloat16",
        "--num_request_iterations_for_warmup=3",
        "--rest_api_enable_cors_support",
        "--rest_api_timeout_in_ms=3000",
        "--saved_model_tags=other,serve",
    ) as live:
        live.serves("default", 1)
        yield live


def test_each_warm_up_request_is_run_as_often_as_asked(server: Live) -> None:
    """The first test: nobody has asked anything before."""
    page = server.ask("GET", "/page")[2].decode()
    assert ":tensorflow:core:graph_runs{} 6\n" in page
    warmed = f'{{model_path="{server.log.parent / "m" / "1"}",status="OK"}}'
    assert f":tensorflow:serving:model_warmup_records_read{warmed} 2\n" in page
    assert f":tensorflow:serving:model_warmup_latency_count{warmed} 1\n" in page


def test_tags_choose_the_graph(server: Live) -> None:
    assert server.predict("default", 1.0) == 3.0


def test_a_model_that_takes_longer_than_the_timeout_is_given_up(server: Live) -> None:
    path, body = "/v1/models/default:predict", '{"signature_name": "slow", "instances": [%s]}'
    assert server.ask("POST", path, (body % "1").encode()) == (
        200, "application/json", b'{\n    "predictions": [1.0\n    ]\n}',
    )  # fmt: skip
    assert server.ask("POST", path, (body % "1e9").encode()) == (
        504, "application/json", b'{\n    "error": "Timed out waiting for notification"\n}',
    )  # fmt: skip
    assert server.ask("GET", "/v1/models/default")[0] == 200


ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "allowed"),
    [
        ("POST", "/v1/models/default:predict", b'{"instances": [1.0]}', 200, ALLOWED),
        ("POST", "/v1/models/default:predict", b"bad", 400, ALLOWED),
        ("PUT", "/v1/models/default:predict", b'{"instances": [1.0]}', 400, ALLOWED),
        ("OPTIONS", "/v1/models/default:predict", None, 200, ALLOWED),
        ("OPTIONS", "/v1/models/default", None, 200, ALLOWED),
        ("GET", "/nope", None, 404, {}),
    ],
)
def test_browsers_may_ask(
    server: Live, method: str, path: str, body: bytes | None, code: int, allowed: dict[str, str]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    connection.request(method, path, body, {"Origin": "https://e.com", "Access-Control-Request-Method": "POST"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == code
    assert {name: value for name, value in answer.getheaders() if name.startswith("Access-Control")} == allowed


ALWAYS = "allow_soft_placement: true use_per_session_threads: true"


@pytest.mark.parametrize(
    ("flags", "file", "expected"),
    [
        ({}, "", ""),
        ({"tensorflow_session_parallelism": 3}, "", "intra_op_parallelism_threads: 3 inter_op_parallelism_threads: 3"),
        ({"tensorflow_intra_op_parallelism": 2}, "", "intra_op_parallelism_threads: 2"),
        ({"tensorflow_inter_op_parallelism": 4}, "", "inter_op_parallelism_threads: 4"),
        (
            {"mixed_precision": "bfloat16"},
            "",
            "graph_options { rewrite_options { auto_mixed_precision_onednn_bfloat16: ON } }",
        ),
        ({"mixed_precision": "float16"}, "", ""),
        ({"per_process_gpu_memory_fraction": 0.5}, "", "gpu_options { per_process_gpu_memory_fraction: 0.5 }"),
        ({}, "intra_op_parallelism_threads: 7", "intra_op_parallelism_threads: 7"),
        (
            {"tensorflow_session_parallelism": 3},
            "intra_op_parallelism_threads: 7 log_device_placement: true",
            "intra_op_parallelism_threads: 3 inter_op_parallelism_threads: 3 log_device_placement: true",
        ),
    ],
    ids=str,
)
def test_what_sessions_are_made_of(flags: dict[str, object], file: str, expected: str, tmp_path: Path) -> None:
    if file:
        (tmp_path / "session").write_text(file)
        flags = {**flags, "tensorflow_session_config_file": str(tmp_path / "session")}
    found = session_config.of(Flags(**flags))  # type: ignore[arg-type]
    assert found == text_format.Parse(f"{ALWAYS} {expected}", config_pb2.ConfigProto())


def test_a_file_of_sessions_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "session").write_text("foo")
    with pytest.raises(Failed, match="Invalid protobuf file: ") as failed:
        session_config.of(Flags(tensorflow_session_config_file=str(tmp_path / "session")))
    assert failed.value.code == "INVALID_ARGUMENT"
    assert '1:4: Message type "tensorflow.ConfigProto" has no field named "foo"' in capsys.readouterr().err

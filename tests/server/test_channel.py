"""How gRPC listens: sockets, TLS, channel arguments; and flags that change what is loaded or answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.models import write_half_plus_two
from tests.server.live import Live, wait
from tests.server.samples import write_classifier
from tests.server.test_recorded import _message
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.channel import LARGEST, Limits, arguments_of, limits_of, tls_of
from tfsdeploy.server.saved_model import SavedModel

TLS = Path(__file__).parents[1] / "cases" / "server" / "tls"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
TENSOR = "{ dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1 }"
REQUEST = f'model_spec {{ name: "default" }} inputs {{ key: "x" value {TENSOR} }}'


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_half_plus_two(tmp_path / "m" / "1")
    return f"--model_base_path={tmp_path / 'm'}"


def pem(name: str) -> bytes:
    return (TLS / name).read_bytes()


def ssl_config(tmp_path: Path, **fields: Any) -> str:
    file = tmp_path / "ssl.config"
    given = {"server_key": pem("server.key").decode(), "server_cert": pem("server.crt").decode(), **fields}
    file.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in given.items()))
    return str(file)


def ask(channel: grpc.Channel) -> Any:
    """The answer to one predict."""
    with channel:
        raw = channel.unary_unary(PREDICT)(_message("PredictRequest", REQUEST).SerializeToString(), timeout=20)
    answer = _message("PredictResponse", "")
    answer.ParseFromString(raw)
    return answer.outputs["y"]


def serving(server: Live) -> None:
    wait("the model", lambda: server.available("default") == {1})


def test_a_unix_socket_alone_or_beside_the_port(model: str, tmp_path: Path) -> None:
    for port in ("0", None):
        socket = tmp_path / f"socket-{port}"
        flags = [f"--grpc_socket_path={socket}", *([f"--port={port}"] if port else [])]
        with Live(tmp_path / "log", model, *flags) as server:
            serving(server)
            assert list(ask(grpc.insecure_channel(f"unix:{socket}")).float_val) == [2.5]
            assert f"Running gRPC ModelServer at UNIX socket {socket} ..." in server.said()
            if port is None:
                assert list(ask(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")).float_val) == [2.5]


def test_tls(model: str, tmp_path: Path) -> None:
    with Live(tmp_path / "log", model, f"--ssl_config_file={ssl_config(tmp_path)}") as server:
        serving(server)
        trusting = grpc.ssl_channel_credentials(pem("ca.crt"))
        assert list(ask(grpc.secure_channel(f"localhost:{server.grpc_port}", trusting)).float_val) == [2.5]
        with pytest.raises(grpc.RpcError):
            ask(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))


def test_tls_that_asks_clients_who_they_are(model: str, tmp_path: Path) -> None:
    config = ssl_config(tmp_path, custom_ca=pem("ca.crt").decode(), client_verify=True)
    with Live(tmp_path / "log", model, f"--ssl_config_file={config}") as server:
        serving(server)
        address = f"localhost:{server.grpc_port}"
        known = grpc.ssl_channel_credentials(pem("ca.crt"), pem("client.key"), pem("client.crt"))
        assert list(ask(grpc.secure_channel(address, known)).float_val) == [2.5]
        with pytest.raises(grpc.RpcError):
            ask(grpc.secure_channel(address, grpc.ssl_channel_credentials(pem("ca.crt"))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense: 1", "no field named"),
        ("server_key: 'a'", "it needs server_key and server_cert"),
        ("server_key: 'a' server_cert: 'b' client_verify: true", "client_verify needs custom_ca"),
    ],
)
def test_an_ssl_config_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "ssl.config"
    file.write_text(text)
    with pytest.raises(Failed, match=said):
        tls_of(str(file))
    missing = tmp_path / "nowhere"
    with pytest.raises(Failed) as raised:
        tls_of(str(missing))
    assert raised.value.message == f"ssl_config_file {missing}: No such file or directory"


def test_keys_that_are_none_end_the_start(model: str, tmp_path: Path) -> None:
    config = ssl_config(tmp_path, server_key="no key")
    with Live(tmp_path / "log", model, f"--ssl_config_file={config}") as server:
        assert server.process.wait(60) == 255
        assert "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server" in server.said()


def test_channel_arguments() -> None:
    assert arguments_of("") == []
    assert arguments_of("grpc.max_connection_age_ms=2000,a=b,c=-1,d=") == [
        ("grpc.max_connection_age_ms", 2000), ("a", "b"), ("c", -1), ("d", ""),
    ]  # fmt: skip
    for text in ("a", "=1", "a=1,b"):
        with pytest.raises(Failed, match="is not NAME=VALUE"):
            arguments_of(text)


def test_what_channel_arguments_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert limits_of({}) == Limits()
    given = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_connection_age_ms": 1500,
        "grpc.max_concurrent_streams": 7,
    }
    assert limits_of(given) == Limits(received_bytes=LARGEST, age_seconds=1.5, most_streams=7)
    assert limits_of({"grpc.max_connection_idle_ms": LARGEST}).idle_seconds is None
    assert capsys.readouterr().err == ""
    assert limits_of({"grpc.lb_policy_name": "x", "grpc.keepalive_time_ms": "soon"}) == Limits()
    assert capsys.readouterr().err.count("does nothing here") == 2


def test_channel_arguments_arrive(model: str, tmp_path: Path) -> None:
    flag = "--grpc_channel_arguments=grpc.max_receive_message_length=10"
    with Live(tmp_path / "log", model, flag) as server:
        serving(server)
        with pytest.raises(grpc.RpcError) as refused:
            ask(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_packed_answers(model: str, tmp_path: Path) -> None:
    with Live(tmp_path / "log", model, "--enable_serialization_as_tensor_content") as server:
        serving(server)
        answer = ask(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
        assert (list(answer.float_val), answer.tensor_content) == ([], b"\x00\x00\x20\x40")
        assert server.predict("default", 1.0) == 2.5


def test_tags_that_no_graph_has(tmp_path: Path) -> None:
    write_half_plus_two(tmp_path / "1")
    with pytest.raises(Failed) as failed:
        SavedModel(str(tmp_path / "1"), tags=["serve", "gpu"])
    assert (failed.value.code, failed.value.message.partition(".")[0]) == (
        "NOT_FOUND", "Could not find meta graph def matching supplied tags: { serve gpu }",
    )  # fmt: skip


def test_signatures_for_other_methods(tmp_path: Path) -> None:
    """What the original answers with --enable_signature_method_name_check."""
    write_classifier(tmp_path / "m" / "1")
    flags = [f"--model_base_path={tmp_path / 'm'}", "--enable_signature_method_name_check"]
    examples = '"examples": [{"x": [1.0, 2.0]}]'
    cases = [
        ("predict", '{"signature_name": "odd_method", "instances": [[1.0, 2.0]]}', 500,
         "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
         "tensorflow/serving/classify, tensorflow/serving/regress}. Was: tensorflow/serving/odd"),
        ("classify", f'{{"signature_name": "regress", {examples}}}', 400,
         "Expected classification signature method_name to be tensorflow/serving/classify. "
         "Was: tensorflow/serving/regress"),
        ("regress", f'{{"signature_name": "serving_default", {examples}}}', 400,
         "Expected regression signature method_name to be tensorflow/serving/regress. "
         "Was: tensorflow/serving/classify"),
    ]  # fmt: skip
    with Live(tmp_path / "log", *flags) as server:
        serving(server)
        for method, body, code, error in cases:
            found, _, answer = server.ask("POST", f"/v1/models/default:{method}", body.encode())
            assert (found, json.loads(answer)) == (code, {"error": error})
        body = f'{{"signature_name": "regress", {examples}}}'
        assert server.ask("POST", "/v1/models/default:regress", body.encode())[0] == 200

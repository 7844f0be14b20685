"""``--like-tfs``: the hard cases of the original, as measured on tensorflow_model_server 2.20.0."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.models import write_broken, write_half_plus_two, write_slow
from tests.server.live import Live, config, specific, wait, write
from tests.server.samples import write_multi

ONCE = ["--like-tfs", "--max_num_load_retries=0"]
POLLING = [*ONCE, "--model_config_file_poll_wait_seconds=1", "--num_load_threads=2"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models to copy from by renaming or linking."""
    folder = tmp_path_factory.mktemp("like")
    for version in (1, 2):
        write_half_plus_two(folder / "m" / str(version), offset=version)
    return folder


@pytest.fixture
def server(samples: Path, tmp_path: Path) -> Iterator[Live]:
    """A server of model ``m`` at version 1, polling every second."""
    file = tmp_path / "config"
    write(file, config(samples, m=specific(1)))
    with Live(tmp_path / "log", f"--model_config_file={file}", *POLLING) as live:
        live.serves("m", 1)
        yield live


def reload(server: Live, text: str, seconds: float) -> str:
    """HandleReloadConfigRequest: OK, or the code."""
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(text, request.config)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        try:
            call = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
            call(request.SerializeToString(), timeout=seconds)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def test_ports_open_when_the_first_version_is_up(tmp_path: Path) -> None:
    write_slow(tmp_path / "m" / "1", 2.0)
    with Live(tmp_path / "log", f"--model_base_path={tmp_path / 'm'}", "--model_name=m", *ONCE) as server:
        wait("the load", lambda: "Loading servable: {name: m version: 1}" in server.said())
        assert not server.listens()
        wait("the port", server.listens)
        assert server.available("m") == {1}


def test_ends_when_a_version_fails_at_the_start(samples: Path, tmp_path: Path) -> None:
    write_broken(tmp_path / "bad" / "1")
    (tmp_path / "m").symlink_to(samples / "m")
    write(tmp_path / "config", config(tmp_path, m="", bad=""))
    with Live(tmp_path / "log", f"--model_config_file={tmp_path / 'config'}", *ONCE) as server:
        assert server.process.wait(60) == 255
    start = (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        "{{{name: bad version: 1} due to error: "
    )
    assert [line for line in server.said().splitlines() if line.startswith(start)]


def test_a_missing_base_path_keeps_the_ports_closed_until_it_is_there(samples: Path, tmp_path: Path) -> None:
    with Live(tmp_path / "log", f"--model_base_path={tmp_path / 'm'}", "--model_name=m", *ONCE) as server:
        wait("the complaint", lambda: "Could not find base path" in server.said())
        assert not server.listens()
        (tmp_path / "m").symlink_to(samples / "m")
        server.serves("m", 2)


def test_a_reload_with_a_new_name_blocks_all_others_until_it_is_loaded(
    server: Live, samples: Path, tmp_path: Path
) -> None:
    late = config(tmp_path, late="")
    both = config(samples, m=specific(1)).rstrip("}\n") + "}\n" + late.partition("{\n")[2]
    assert reload(server, both, 3.0) == "DEADLINE_EXCEEDED"
    assert reload(server, config(samples, m=specific(2)), 1.0) == "DEADLINE_EXCEEDED"
    assert server.available("m") == {1}
    (tmp_path / "late").symlink_to(samples / "m")
    # Then everything that had queued up is done, and the file has the last word.
    wait("late has been there", lambda: server.states("late").get(2, ("", ""))[0] == "END")
    server.serves("m", 1)


def test_a_base_path_that_is_away_suspends_every_model(samples: Path, tmp_path: Path) -> None:
    for name in ("m", "n"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").symlink_to(samples / "m" / "1")
    write(tmp_path / "config", config(tmp_path, m="", n=""))
    with Live(tmp_path / "log", f"--model_config_file={tmp_path / 'config'}", *POLLING) as server:
        server.serves("m", 1)
        (tmp_path / "n").rename(tmp_path / "away")
        wait("the complaint", lambda: "filesystem access error" in server.said())
        (tmp_path / "m" / "2").symlink_to(samples / "m" / "2")
        before = server.said().count("filesystem access error")
        wait("two more scans", lambda: server.said().count("filesystem access error") > before + 1)
        assert (server.available("m"), server.available("n")) == ({1}, {1})
        (tmp_path / "away").rename(tmp_path / "n")
        server.serves("m", 2)


def test_an_empty_base_path_unloads_and_the_row_stays(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(samples / "m" / "1")
    with Live(tmp_path / "log", f"--model_base_path={tmp_path / 'm'}", "--model_name=m", *ONCE) as server:
        server.serves("m", 1)
        (tmp_path / "m" / "1").unlink()
        wait("END", lambda: server.states("m") == {1: ("END", "")})
        code, _, body = server.ask("POST", "/v1/models/m:predict", b'{"instances": [0.0]}')
        assert (code, json.loads(body)) == (404, {"error": "Servable not found for request: Latest(m)"})


def test_a_file_is_seen_at_the_next_poll_and_applied_at_every_one(server: Live, samples: Path, tmp_path: Path) -> None:
    write(tmp_path / "config", config(samples, m=specific(2)))
    server.serves("m", 2)
    assert reload(server, config(samples, m=specific(1)), 30) == "OK"
    # The request came later, but the file has the last word.
    server.serves("m", 2)
    wait("version 1 is over", lambda: server.states("m")[1][0] == "END")


def test_a_signal_ends_it_with_what_is_in_flight(tmp_path: Path) -> None:
    write_multi(tmp_path / "m" / "1")
    body = json.dumps({"signature_name": "slow", "instances": [10**7]}).encode()
    failures: list[Exception] = []

    def ask() -> None:
        try:
            server.ask("POST", "/v1/models/m:predict", body)
        except OSError as error:
            failures.append(error)

    with Live(tmp_path / "log", f"--model_base_path={tmp_path / 'm'}", "--model_name=m", *ONCE) as server:
        server.serves("m", 1)
        asker, computing = threading.Thread(target=ask), server.computing()
        asker.start()
        wait("the request is under way", computing)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == -signal.SIGTERM
        asker.join()
    assert len(failures) == 1


def test_health_is_there_when_it_is_asked_for(server: Live) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED

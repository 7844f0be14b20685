"""A real server, as it is by default: versions come and go under requests, and nothing of one model hurts another."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.models import write_broken, write_half_plus_two, write_heavy, write_slow
from tests.server.live import Live, config, specific, wait, write
from tests.server.samples import write_multi
from tests.server.stream import Stream


class Place:
    """Folders of models, a configuration file, and a server on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "models.config"
        for version in (1, 2, 3):
            write_heavy(folder / "m" / str(version), offset=version)
        self.configure(m=specific(1))
        flags = [f"--model_config_file={self.file}", "--model_config_file_poll_wait_seconds=1", "--keep_missing"]
        self.server = Live(folder / "log", *flags, "--max_num_load_retries=0")

    def configure(self, **policies: str) -> None:
        """Write the configuration."""
        write(self.file, config(self.folder, **policies))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("live"))
    with place.server:
        yield place


@pytest.fixture
def place(running: Place) -> Place:
    """The server with one model at version 1, and no other."""
    running.configure(m=specific(1))
    running.server.serves("m", 1)
    return running


def test_ports_open_when_each_model_is_loaded_has_failed_or_has_no_version(tmp_path: Path) -> None:
    write_slow(tmp_path / "m" / "1", 2.0)
    write_broken(tmp_path / "broken" / "1")
    (tmp_path / "config").write_text(config(tmp_path, m="", broken="", away=""))
    with Live(tmp_path / "log", f"--model_config_file={tmp_path / 'config'}") as server:
        wait("the ports", server.listens)
        assert server.available("m") == {1}
        # It is still being tried, for five minutes.
        assert server.states("broken")[1][0] == "LOADING"


def test_ports_are_open_before_a_model_is_ready_if_asked(tmp_path: Path) -> None:
    write_slow(tmp_path / "m" / "1", 2.0)
    (tmp_path / "config").write_text(config(tmp_path, m=""))
    with Live(tmp_path / "log", f"--model_config_file={tmp_path / 'config'}", "--open_early") as server:
        wait("some state", lambda: bool(server.states("m")))
        assert server.states("m")[1][0] in ("START", "LOADING")
        server.serves("m", 1)


def test_versions_change_under_requests_and_give_their_memory_back(place: Place) -> None:
    """Each of 64 changes loads or unloads 8 MiB; what the first eight leave is the allocator's."""
    server, resident = place.server, []
    with Stream(server, "m") as stream:
        for before, after in ((1, 2), (2, 1), (1, 3), (3, 1)) * 8:
            place.configure(m=specific(before, after))
            server.serves("m", before, after)
            place.configure(m=specific(after))
            server.serves("m", after)
            wait("the other has ended", lambda left=before: server.states("m")[left][0] == "END")  # type: ignore[misc]
            resident.append(server.resident())
        # There and back before anything was done about it.
        place.configure(m=specific(2))
        place.configure(m=specific(1))
        server.serves("m", 1)
    assert stream.failures == []
    assert set(stream.answers) == {1.0, 2.0, 3.0}
    assert min(resident[-4:]) - max(resident[:4]) < 16 << 20, resident


def test_a_version_named_in_the_request_answers(place: Place) -> None:
    place.configure(m=specific(1, 2))
    place.server.serves("m", 1, 2)
    assert [place.server.predict(path, 0.0) for path in ("m", "m/versions/1", "m/versions/2")] == [2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [3]),
        ("model_version_policy { all {} }", [1, 2, 3]),
        ("model_version_policy { latest { num_versions: 2 } }", [2, 3]),
    ],
    ids=["latest", "all", "latest 2"],
)
def test_policies(place: Place, policy: str, versions: list[int]) -> None:
    place.configure(m=policy)
    place.server.serves("m", *versions)


def test_a_version_that_cannot_load_takes_nothing_away(place: Place) -> None:
    write_broken(place.folder / "m" / "8")
    place.configure(m=specific(8))
    wait("END", lambda: place.server.states("m").get(8, ("", ""))[0] == "END")
    assert "NoSuchOperation" in place.server.states("m")[8][1]
    assert place.server.predict("m", 0.0) == 1.0
    with Stream(place.server, "m") as stream:
        place.configure(m=specific(1))
        wait("2 more answers", lambda: len(stream.answers) > 2)
    assert stream.failures == []


def test_a_folder_that_is_away_hurts_no_other_model_and_unloads_nothing(place: Place) -> None:
    write_half_plus_two(place.folder / "other" / "1", offset=7)
    place.configure(m=specific(1), other=specific(1), away="")
    place.server.serves("other", 1)
    (place.folder / "other" / "1").rename(place.folder / "other" / "gone")
    (place.folder / "m" / "4").mkdir()
    place.configure(m=specific(1, 2), other=specific(1), away="")
    place.server.serves("m", 1, 2)
    assert place.server.predict("other", 0.0) == 7.0
    write_half_plus_two(place.folder / "away" / "5")
    place.server.serves("away", 5)


def test_a_model_that_loads_slowly_hinders_no_other(place: Place) -> None:
    write_slow(place.folder / "slow" / "1", 3)
    place.configure(slow="", m=specific(1))
    wait("slow is LOADING", lambda: place.server.states("slow").get(1, ("", ""))[0] == "LOADING")
    with Stream(place.server, "m") as stream:
        place.configure(slow="", m=specific(2))
        place.server.serves("m", 2)
        assert place.server.states("slow")[1][0] == "LOADING"
        place.server.serves("slow", 1)
    assert stream.failures == []


def test_a_wrong_configuration_changes_nothing(place: Place) -> None:
    said = len(place.server.said())
    write(place.file, "model_config_list { config { nonsense: 1 } }")
    wait("the complaint", lambda: "Invalid protobuf file" in place.server.said()[said:])
    assert place.server.predict("m", 0.0) == 1.0
    place.configure(m=specific(3))
    place.server.serves("m", 3)


def test_a_label_moves_when_its_version_is_there(place: Place) -> None:
    label = 'version_labels {{ key: "stable" value: {} }}'
    place.configure(m=f"{specific(1)} {label.format(1)}")
    wait(
        "the label",
        lambda: place.server.ask("POST", "/v1/models/m/labels/stable:predict", b'{"instances":[0]}')[0] == 200,
    )
    said = len(place.server.said())
    place.configure(m=f"{specific(1, 2)} {label.format(2)}")
    wait("the refusal", lambda: "not currently available for inference" in place.server.said()[said:])
    assert place.server.predict("m/labels/stable", 0.0) == 1.0
    place.configure(m=f"{specific(1, 2)} {label.format(1)}")
    place.server.serves("m", 1, 2)
    place.configure(m=f"{specific(1, 2)} {label.format(2)}")
    wait("the move", lambda: place.server.predict("m/labels/stable", 0.0) == 2.0)


def test_reload_by_request(place: Place) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config(place.folder, m=specific(2)), request.config)
    with grpc.insecure_channel(f"127.0.0.1:{place.server.grpc_port}") as channel:
        reload = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        reload(request.SerializeToString(), timeout=30)
        place.server.serves("m", 2)
        twice = request.config.model_config_list.config.add()
        twice.CopyFrom(request.config.model_config_list.config[0])
        with pytest.raises(grpc.RpcError) as raised:
            reload(request.SerializeToString(), timeout=30)
        twice.name = "new, and waited for"
        names = ["/tensorflow/core/saved_model/read/api", "/tensorflow/serving/request_count", "of nothing"]
        request.metric_names.extend([*names, *names])
        answer = model_management_pb2.ReloadConfigResponse.FromString(reload(request.SerializeToString(), timeout=30))
    increases = {metric.name: metric.int64_value_increase for metric in answer.metric}
    assert (increases, len(answer.metric)) == ({names[0]: 1, names[1]: 0, names[2]: 0}, 3)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "Illegal to list model m multiple times in config list"


def test_health(place: Place) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{place.server.grpc_port}") as channel:
        for service in (b"", b"\n\x11PredictionService", b"\n\x0cModelService"):
            assert channel.unary_unary("/grpc.health.v1.Health/Check")(service, timeout=30) == b"\x08\x01"


def test_ends_when_what_is_in_flight_is_answered(tmp_path: Path) -> None:
    write_multi(tmp_path / "m" / "1")
    flags = [f"--model_base_path={tmp_path / 'm'}", "--model_name=m", "--drain_seconds=60"]
    body = json.dumps({"signature_name": "slow", "instances": [2000]}).encode()
    answers: list[int] = []

    def ask() -> None:
        answers.append(server.ask("POST", "/v1/models/m:predict", body)[0])

    with Live(tmp_path / "log", *flags) as server:
        server.serves("m", 1)
        server.ask("POST", "/v1/models/m:predict", json.dumps({"signature_name": "slow", "instances": [1]}).encode())
        asker, computing = threading.Thread(target=ask), server.computing()
        asker.start()
        wait("the request is under way", computing)
        server.process.send_signal(signal.SIGTERM)
        asker.join()
        assert server.process.wait(60) == 0
    assert answers == [200]
    assert "Traceback" not in server.said()

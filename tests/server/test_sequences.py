"""What follows from what, step by step, as tensorflow_model_server 2.20.0 did it: reloads, files and folders.

A step's `then` is what is so in the end. Where docs/server.md lists a difference, `here` has what this server does, and
`differs` which difference that is.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, predict_pb2

from tests.models import write_half_plus_two
from tests.server.live import Live, wait, write
from tests.server.samples import write_adder
from tfsdeploy.protocol import wire

SEQUENCES = Path(__file__).parents[1] / "cases" / "server" / "sequences"

SERVICE = "/tensorflow.serving.{}"

Step = dict[str, Any]


class Place:
    """A folder of models, and the server of them."""

    def __init__(self, folder: Path, server: Live, channel: grpc.Channel) -> None:
        self.folder = folder
        self.server = server
        self._channel = channel

    def call(self, method: str, request: Any, answer: Any) -> Any:
        """One call: the answer, or code and words."""
        try:
            raw = self._channel.unary_unary(SERVICE.format(method))(request.SerializeToString(), timeout=60)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}".replace(str(self.folder), "FOLDER")
        answer.ParseFromString(raw)
        return answer

    def told(self, what: str, model: str) -> str:
        """Its rows, or its answer to 10 and by which version; of ``NAME``, ``NAME/VERSION``, ``NAME@LABEL``."""
        request = get_model_status_pb2.GetModelStatusRequest() if what == "status" else predict_pb2.PredictRequest()
        named, at, label = model.partition("@")
        request.model_spec.name, slash, version = named.partition("/")
        if at:
            request.model_spec.version_label = label
        if slash:
            request.model_spec.version.value = int(version)
        if what == "status":
            answer = self.call("ModelService/GetModelStatus", request, get_model_status_pb2.GetModelStatusResponse())
            return answer if isinstance(answer, str) else ", ".join(map(self._row, answer.model_version_status))
        request.inputs["x"].ParseFromString(wire.tensor([10.0]).SerializeToString())
        answer = self.call("PredictionService/Predict", request, predict_pb2.PredictResponse())
        if isinstance(answer, str):
            return answer
        return f"{answer.outputs['y'].float_val[0]} by {answer.model_spec.version.value}"

    def _row(self, row: Any) -> str:
        state = get_model_status_pb2.ModelVersionStatus.State.Name(row.state)
        if not row.status.error_code:
            return f"{row.version} {state}"
        words = row.status.error_message.replace(str(self.folder), "FOLDER")
        return f"{row.version} {state} {_code(row.status.error_code)} {words}"

    def says(self, words: str, after: int) -> None:
        """Wait until its log has something, after so many characters."""
        wait(words, lambda: words in self.server.said()[after:])

    def reload(self, step: Step) -> None:
        """HandleReloadConfigRequest, and its answer."""
        request = text_format.Parse(
            step["reload"].replace("FOLDER", str(self.folder)), model_management_pb2.ReloadConfigRequest()
        )
        answer = self.call(
            "ModelService/HandleReloadConfigRequest", request, model_management_pb2.ReloadConfigResponse()
        )
        found = answer if isinstance(answer, str) else "OK"
        assert found == step["answer"], step["step"]
        if "metrics" in step:
            assert {metric.name for metric in answer.metric} == set(step["metrics"])

    def check(self, step: Step) -> None:
        """Wait until everything is as the step says."""

        def unlike() -> list[tuple[str, str, str]]:
            told = [(what, model, self.told(what, model)) for what, model, _ in step["then"]]
            return [found for found, expected in zip(told, step["then"], strict=True) if found != tuple(expected)]

        with suppress(AssertionError):
            wait(step["step"], lambda: not unlike())
        assert unlike() == [], step


def change(folder: Path, samples: Path, actions: list[list[str]]) -> None:
    """What happens to the folders; each action at once, as far as a file system can."""

    def sample(name: str) -> Path:
        return samples / "versions" / name if name.isdecimal() else samples / name

    for kind, *words in actions:
        path = folder / words[-1]
        match kind:
            case "link":
                path.parent.mkdir(exist_ok=True)
                path.symlink_to(sample(words[0]))
            case "replace":
                staged = path.with_name("staged")
                staged.symlink_to(sample(words[0]))
                staged.replace(path)
            case "fill":
                shutil.copytree(sample(words[0]), path, dirs_exist_ok=True)
            case "garbage":
                staged = path.with_name("staged")
                staged.mkdir(parents=True)
                (staged / "saved_model.pb").write_bytes(b"\xff\xfenot a proto")
                staged.rename(path)
            case "empty":
                path.mkdir(parents=True)
            case "file":
                path.write_text("no folder")
            case "touch":
                (path / "saved_model.pb").touch()
            case "move":
                (folder / words[0]).rename(path)
            case "remove" if path.is_symlink() or path.is_file():
                path.unlink()
            case "remove":
                shutil.rmtree(path)


def _code(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def steps(file: str) -> list[Step]:
    """The steps of a sequence, as they are here."""
    lines = (SEQUENCES / f"{file}.jsonl").read_text().splitlines()
    return [step | step.get("here", {}) for step in map(json.loads, lines)]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models to link to: ``versions`` 1 to 3, of ``x`` plus their number, and two of ``x`` / 2 plus 2 and 3."""
    folder = tmp_path_factory.mktemp("samples")
    for version in (1, 2, 3):
        write_adder(folder / "versions" / str(version), version)
    write_half_plus_two(folder / "half_plus_two" / "123", 2.0)
    write_half_plus_two(folder / "half_plus_three" / "123", 3.0)
    return folder


@contextmanager
def place(folder: Path, config: str, *flags: str) -> Iterator[Place]:
    """A server, at the models that a configuration names."""
    (folder / "models.config").write_text(config.replace("FOLDER", str(folder)))
    flags = (f"--model_config_file={folder / 'models.config'}", *flags)
    with Live(folder / "log", *flags) as server:
        wait("the ports", server.listens)
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            yield Place(folder, server, channel)


@pytest.mark.parametrize(
    ("files", "flags"),
    [
        (["refused_reloads", "policies", "labels"], ()),
        (["labels_anywhere"], ("--allow_version_labels_for_unavailable_models",)),
    ],
    ids=["labels-there", "labels-anywhere"],
)
def test_reloads_by_request(files: list[str], flags: tuple[str, ...], samples: Path, tmp_path: Path) -> None:
    for name in ("half_plus_two", "half_plus_three", "versions"):
        (tmp_path / name).symlink_to(samples / name)
    (tmp_path / "flat").symlink_to(samples / "versions" / "1")
    (tmp_path / "emptydir").mkdir()
    (tmp_path / "onlynonnum" / "abc").mkdir(parents=True)
    change(tmp_path, samples, [["garbage", "garbage/1"]])
    retries = ("--max_num_load_retries=1", "--load_retry_interval_micros=100000")
    model = 'config { name: "half_plus_two" base_path: "FOLDER/half_plus_two" model_type: TENSORFLOW }'
    with place(tmp_path, f"model_config_list {{ {model} }}", *retries, *flags) as there:
        for step in itertools.chain.from_iterable(map(steps, files)):
            if "reload" in step:
                there.reload(step)
            change(tmp_path, samples, step.get("disk", []))
            there.check(step)


def test_versions_on_disk_and_configurations_in_a_file(samples: Path, tmp_path: Path) -> None:
    """Every model at once, as they do not meet; the first step of each is before the start."""
    by_model = {
        model: list(group) for model, group in itertools.groupby(steps("disk"), key=lambda step: str(step["model"]))
    }
    entries = [
        f'config {{ name: "{model}" base_path: "{first.get("base", f"FOLDER/{model}")}" model_platform: "tensorflow" '
        f"{first['config']} }}"
        for model, (first, *_) in by_model.items()
    ]
    entries.append('config { name: "beat" base_path: "FOLDER/beat" model_platform: "tensorflow" }')
    polled = steps("configuration_file")
    flags = (
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=200000",
        "--model_config_file_poll_wait_seconds=1",
    )
    for first, *_ in by_model.values():
        change(tmp_path, samples, first.get("disk", []))
    change(tmp_path, samples, [["link", "1", "m/1"], ["link", "1", "beat/1"], ["link", "half_plus_two", "h"]])
    with place(tmp_path, f"model_config_list {{ {' '.join(entries)} }}", *flags) as there:
        for first, *_ in by_model.values():
            there.check(first)
        rounds = itertools.zip_longest(*(rest for _, *rest in by_model.values()))
        for number, together in enumerate(rounds, 2):
            now = [step for step in together if step]
            # The scan that sees the beat, which comes last, sees everything: also where nothing follows from it.
            for step in now:
                change(tmp_path, samples, step["disk"])
            change(tmp_path, samples, [["link", "1", f"beat/{number}"]])
            there.server.serves("beat", number)
            for step in now:
                there.check(step)
        for step in polled:
            said = len(there.server.said())
            if step["file"] is None:
                (tmp_path / "models.config").unlink()
            else:
                write(tmp_path / "models.config", step["file"].replace("FOLDER", str(tmp_path)))
            there.says(step.get("log", ""), said)
            there.check(step)


def test_every_difference_is_one_that_the_documentation_lists() -> None:
    listed = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    for file in SEQUENCES.iterdir():
        for step in map(json.loads, file.read_text().splitlines()):
            assert ("here" in step) == ("differs" in step), step
            assert f"| {step.get('differs', '')}" in listed

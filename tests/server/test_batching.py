"""Batching: what is joined, split and refused, as rules over arrays; and with TensorFlow, alone and together."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.live import Live, wait
from tests.server.samples import write_multi
from tests.server.test_recorded import _cases, _uncounted
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.batch_threads import Line, Threads
from tfsdeploy.server.batching import Array, Parameters, Queue, Task, alike, check, joined, pieces, read, split
from tfsdeploy.server.saved_model import SavedModel
from tfsdeploy.server.servable import Call, Input

TEXT = """max_batch_size { value: 4 } batch_timeout_micros { value: 1000 } num_batch_threads { value: 1 }
max_enqueued_batches { value: 2 }"""


def call(timeout_ms: int = 0) -> Call:
    return Call("s", timeout_ms, (), (), (), lambda *arrays: list(arrays))


def task(rows: int, enqueued: float = 0.0, width: int = 1, timeout_ms: int = 0) -> Task:
    return Task(call(timeout_ms), [np.arange(rows * width, dtype=np.float32).reshape(rows, width)], enqueued)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("batching") / "multi"
    write_multi(path / "1")
    return path


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "batching").write_text(TEXT)
    return str(tmp_path / "batching")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("foo: 1", "Invalid protobuf file: 'FILE'"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
         "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 8",
         "allowed_batch_sizes entries must be monotonically increasing"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "parameters"
    file.write_text(text)
    with pytest.raises(Failed) as failed:
        check(read(str(file)))
    assert (failed.value.code, failed.value.message) == ("INVALID_ARGUMENT", words.replace("FILE", str(file)))


def test_parameters_of_no_file_and_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert read("").max_batch_size == 1000
    with pytest.raises(Failed, match="nowhere; No such file or directory") as failed:
        read(str(tmp_path / "nowhere"))
    assert failed.value.code == "NOT_FOUND"


def test_large_requests_are_cut_if_the_parameters_say_so(tmp_path: Path) -> None:
    file = tmp_path / "parameters"
    file.write_text(
        "max_batch_size { value: 9 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"
    )
    parameters = read(str(file))
    assert [len(piece[0]) for piece in pieces([np.zeros(9)], parameters)] == [4, 4, 1]
    with pytest.raises(Failed, match="Task size 10 is larger than maximum input batch size 9"):
        pieces([np.zeros(10)], parameters)


def test_a_queue_fills_one_batch_after_the_other_and_refuses_what_is_too_much() -> None:
    queue = Queue(Parameters(max_batch_size=4, max_execution_batch_size=4, max_enqueued_batches=2))
    for _ in range(4):
        queue.add([task(2)])
    with pytest.raises(Failed, match="currently 2 batches enqueued and max_enqueued_batches is 2") as failed:
        queue.add([task(2)])
    assert failed.value.code == "UNAVAILABLE"
    assert [len(queue.take()), len(queue.take()), queue.due()] == [2, 2, None]


def test_a_batch_is_due_when_it_is_full_or_closed_or_has_waited() -> None:
    queue = Queue(Parameters(max_batch_size=4, max_execution_batch_size=4, batch_timeout_micros=500_000))
    queue.add([task(2, enqueued=7.0)])
    assert queue.due() == 7.5
    queue.add([task(3, enqueued=7.2)])
    assert queue.due() == 0.0
    queue.take()
    assert queue.due() == 7.7
    queue.add([task(1, enqueued=7.3)])
    assert queue.due() == 0.0


def test_shapes_that_differ_are_run_apart_or_padded_with_the_first_element() -> None:
    tasks = [task(1, width=2), task(2, width=3), task(1, width=2)]
    assert alike(tasks, pad=False) == [[tasks[0], tasks[2]], [tasks[1]]]
    assert alike(tasks, pad=True) == [tasks]
    (whole,) = joined([task(1, width=3), Task(call(), [np.array([[7.0, 8.0]], np.float32)], 0.0)])
    assert whole.tolist() == [[0.0, 1.0, 2.0], [7.0, 8.0, 7.0]]


def test_a_batch_is_filled_up_to_an_allowed_size_with_its_first_row() -> None:
    (whole,) = joined([task(2), task(1)], allowed=(2, 4))
    assert whole.tolist() == [[0.0], [1.0], [0.0], [0.0]]
    assert [rows[0].tolist() for rows in split([whole], [task(2), task(1)], 4)] == [[[0.0], [1.0]], [[0.0]]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(1, 50), unique=True))
def test_what_is_joined_comes_apart_again(sizes: list[int], allowed: list[int]) -> None:
    tasks = [task(rows) for rows in sizes]
    (whole,) = joined(tasks, sorted(allowed))
    for one, rows in zip(tasks, split([whole], tasks, len(whole)), strict=True):
        np.testing.assert_array_equal(rows[0], one.inputs[0])


def test_a_request_whose_time_is_over_before_its_batch_runs_fails_alone() -> None:
    blocked, go = threading.Event(), threading.Event()

    def run(_: Call, inputs: Sequence[Array]) -> list[Array]:
        blocked.set()
        assert go.wait(20)
        return list(inputs)

    threads = Threads(1, "test")
    first, line = Line(threads, Parameters(), run), Line(threads, Parameters(), run)
    with ThreadPoolExecutor(3) as pool:
        busy = pool.submit(first.ask, call(), [np.zeros(1)])
        assert blocked.wait(20)
        late = pool.submit(line.ask, call(1), [np.zeros(1)])
        wait("it is in line", lambda: line.queue.due() is not None)
        over = time.monotonic() + 0.002
        wait("its time is over", lambda: time.monotonic() > over)
        patient = pool.submit(line.ask, call(), [np.zeros(1)])
        go.set()
        assert (len(busy.result(20)[0]), len(patient.result(20)[0])) == (1, 1)
        with pytest.raises(Failed, match="timeout exceeded while waiting in batching queue") as failed:
            late.result(20)
        assert failed.value.code == "RESOURCE_EXHAUSTED"


def test_a_batch_that_takes_too_long_is_not_run_again_one_by_one() -> None:
    runs = []

    def run(_: Call, inputs: Sequence[Array]) -> list[Array]:
        runs.append(len(inputs[0]))
        raise Failed("DEADLINE_EXCEEDED", "Timed out")

    whole = Parameters(max_batch_size=2, max_execution_batch_size=2, batch_timeout_micros=60_000_000)
    line = Line(Threads(1, "test"), whole, run, alone=True)
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(line.ask, call(), [np.zeros(1)]) for _ in range(2)]:
            with pytest.raises(Failed, match="Timed out"):
                one.result(20)
    assert runs == [2]


def test_like_the_original_requests_whose_shapes_differ_fail_together() -> None:
    asked = replace(
        call(), inputs=(Input("a", "s_a:0", np.dtype(np.float32)), Input("b", "s_b:0", np.dtype(np.float32)))
    )
    whole = Parameters(max_batch_size=2, max_execution_batch_size=2, batch_timeout_micros=60_000_000)
    line = Line(Threads(1, "test"), whole, lambda _, inputs: list(inputs), alone=False)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(line.ask, asked, [np.zeros((1, 2)), np.zeros((1, width))]) for width in (3, 4)]
        for one in both:
            with pytest.raises(Failed, match="Tensors with name 's_b:0' from different tasks") as failed:
                one.result(20)
            assert failed.value.code == "FAILED_PRECONDITION"


@pytest.fixture(scope="module")
def models(folder: Path) -> Iterator[tuple[SavedModel, SavedModel]]:
    """The same model twice: by itself, and batched by two threads in batches of up to five rows."""
    plain, batched = SavedModel(str(folder / "1")), SavedModel(str(folder / "1"))
    parameters = Parameters(5, 2000, 100, allowed_batch_sizes=(2, 5), max_execution_batch_size=5)
    batched.batch(Threads(2, "test"), parameters, alone=True)
    yield plain, batched
    plain.close()
    batched.close()


FLOATS = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=5).map(lambda x: np.array(x, np.float32))
REQUESTS = st.one_of(
    st.tuples(st.sampled_from(["id_float32", "div"]), FLOATS),
    st.tuples(st.just("matrix"), st.tuples(st.integers(1, 5), st.integers(2, 4)).map(lambda s: np.ones(s, np.float32))),
    st.tuples(st.just("id_string"), st.lists(st.binary(max_size=4), min_size=1, max_size=5).map(
        lambda x: np.array(x, object))),
)  # fmt: skip


def outcome(model: SavedModel, request: tuple[str, Array]) -> Any:
    signature, array = request
    asked = model.call(signature)
    try:
        found = model.run(asked, {asked.inputs[0].alias: array})
        return {alias: (value.dtype.name, value.tolist()) for alias, value in found.items()}
    except Failed as failed:
        return failed.code, failed.message


@settings(max_examples=40)
@given(st.lists(REQUESTS, min_size=1, max_size=12))
def test_every_request_gets_the_answer_that_it_would_get_alone(
    models: tuple[SavedModel, SavedModel], requests: list[tuple[str, Array]]
) -> None:
    plain, batched = models
    alone = [outcome(plain, request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: outcome(batched, request), requests))
    assert together == alone


def test_what_the_original_answers(folder: Path, file: str, tmp_path: Path) -> None:
    flags = [f"--model_base_path={folder}", "--enable_batching", f"--batching_parameters_file={file}"]
    with Live(tmp_path / "log", *flags) as server:
        server.serves("default", 1)
        for case in _cases("batching.jsonl"):
            code, kind, answer = server.ask(case["method"], case["path"], case["body"].encode())
            assert (code, kind) == (case["code"], case["type"])
            if case.get("exact", True):
                assert _uncounted(answer.decode()) == case["answer"]
            else:
                assert json.loads(answer) == json.loads(case["answer"])


def test_a_full_queue_refuses_and_a_version_leaves_when_its_queue_is_empty(
    folder: Path, file: str, tmp_path: Path
) -> None:
    base = tmp_path / "models"
    base.mkdir()
    (base / "1").symlink_to(folder / "1")
    flags = [f"--model_base_path={base}", "--enable_batching", f"--batching_parameters_file={file}",
             "--rest_api_num_threads=16"]  # fmt: skip
    body = b'{"signature_name": "slow", "instances": [900, 900]}'
    with Live(tmp_path / "log", *flags) as server, ThreadPoolExecutor(16) as pool:
        server.serves("default", 1)
        busy = server.computing()
        asked = [pool.submit(server.ask, "POST", "/v1/models/default:predict", body) for _ in range(16)]
        wait("a run", busy)
        (base / "2").symlink_to(folder / "1")
        answers = [one.result() for one in asked]
        server.serves("default", 2)
    assert {code for code, _, _ in answers} == {200, 503}
    assert all(b"max_enqueued_batches is 2" in answer for code, _, answer in answers if code == 503)


def test_parameters_inside_a_version(folder: Path, tmp_path: Path) -> None:
    for name, text in (("batched", TEXT), ("plain", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").mkdir()
        for entry in (folder / "1").iterdir():
            (tmp_path / name / "1" / entry.name).symlink_to(entry)
        if text:
            (tmp_path / name / "1" / "batching_params.pbtxt").write_text(text)
    config = "model_config_list { " + "".join(
        f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }} '
        for name in ("batched", "plain")
    ) + "}"  # fmt: skip
    (tmp_path / "config").write_text(config)
    flags = [
        f"--model_config_file={tmp_path / 'config'}",
        "--enable_batching",
        "--enable_per_model_batching_parameters",
    ]
    with Live(tmp_path / "log", *flags) as server:
        server.serves("batched", 1)
        server.serves("plain", 1)
        body = b'{"signature_name": "id_float32", "instances": [1, 2, 3, 4, 5]}'
        assert server.ask("POST", "/v1/models/plain:predict", body)[0] == 200
        assert server.ask("POST", "/v1/models/batched:predict", body)[0] == 400

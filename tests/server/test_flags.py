"""The command line by the original's rules: what is taken, what is told, what ends the start."""

from __future__ import annotations

from typing import Any

import pytest

from tfsdeploy.server.flag_table import ORIGINAL, usage
from tfsdeploy.server.flags import ACCEPTED, FLAGS, OWN, Flags, Unusable, parse


def different(flags: Flags) -> dict[str, Any]:
    """The flags that are not at their defaults."""
    plain = Flags()
    return {name: getattr(flags, name) for name in Flags.__slots__ if getattr(flags, name) != getattr(plain, name)}


TAKEN: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["--port=9000"], {"port": 9000}),
    (["--port=9000", "--port=9001"], {"port": 9001}),
    (["--port=-1"], {"port": -1}),
    (["--model_name=a=b"], {"model_name": "a=b"}),
    (["--model_name="], {"model_name": ""}),
    (["--model_base_path=/srv/with space"], {"model_base_path": "/srv/with space"}),
    (["--version"], {"version": True}),
    (["--version=true"], {"version": True}),
    (["--version=TRUE"], {"version": True}),
    (["--version=1"], {"version": True}),
    (["--version", "--version=false"], {}),
    (["--version", "--version=0"], {}),
    (["--like-tfs"], {"like_tfs": True}),
    (["--like-tfs=false"], {}),
    (["--allow_version_labels_for_unavailable_models"], {"allow_version_labels_for_unavailable_models": True}),
    (["--load_retry_interval_micros=5000000"], {"load_retry_interval_micros": 5_000_000}),
    (["--port=+9000"], {"port": 9000}),
    (["--port= 9000"], {"port": 9000}),
    (["--port=4294967297"], {"port": 1}),
    (["--load_retry_interval_micros=99999999999999999999"], {"load_retry_interval_micros": 2**63 - 1}),
    (["--per_process_gpu_memory_fraction=.5"], {"per_process_gpu_memory_fraction": 0.5}),
]


@pytest.mark.parametrize(("arguments", "expected"), TAKEN, ids=lambda value: " ".join(value) or "none")
def test_a_flag_is_taken(arguments: list[str], expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    flags, unknown, undone = parse(arguments)
    assert (different(flags), unknown, undone) == (expected, (), ())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--nothing_like_it=1"], ["--nothing_like_it=1"]),
        (["-port=9000"], ["-port=9000"]),
        (["port=9000"], ["port=9000"]),
        (["--port", "9000"], ["--port", "9000"]),
        (["--Port=9000"], ["--Port=9000"]),
        (["stray", "--help"], ["stray", "--help"]),
        (["--", "--port=9000"], ["--", "--port=9000"]),
        (["--versions"], ["--versions"]),
        (["--versionX=1"], ["--versionX=1"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_what_is_no_flag_is_told_and_the_start_goes_on(arguments: list[str], told: list[str]) -> None:
    flags, unknown, _ = parse(arguments)
    assert different(flags) == {}
    assert list(unknown) == told


@pytest.mark.parametrize(
    "argument",
    [
        "--port=", "--port=http", "--port=1.5", "--port=0x10", "--port=9000 ", "--like-tfs=yes",
        "--version=", "--version= true", "--version=2",
        "--file_system_poll_wait_seconds=1s", "--per_process_gpu_memory_fraction=half",
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_ends_the_start(argument: str) -> None:
    name, _, value = argument.removeprefix("--").partition("=")
    with pytest.raises(Unusable) as raised:
        parse([argument])
    assert str(raised.value) == f"Couldn't interpret value {value} for flag {name.replace('-', '_')}."


def test_help_ends_the_start_unless_something_unknown_comes_before() -> None:
    for arguments in (["--help"], ["--port=1", "--help", "stray"]):
        with pytest.raises(Unusable, match=r"^$"):
            parse(arguments)


VALUES = {"bool": "", "int32": "=1", "int64": "=1", "float": "=0.5", "string": "=x"}


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_a_flag_of_the_original_that_does_nothing_here_says_what_is_done_instead(name: str) -> None:
    argument = f"--{name}{VALUES[FLAGS[name].kind]}"
    flags, unknown, undone = parse([argument])
    assert (different(flags), unknown) == ({}, ())
    assert undone == (f"{argument}: {ACCEPTED[name]}",)
    assert len(ACCEPTED[name]) > 20


def test_every_flag_of_the_original_is_carried_out_or_said_to_do_nothing() -> None:
    assert len(ORIGINAL) == 48
    assert {flag.name for flag in ORIGINAL} == (ACCEPTED.keys() | set(Flags.__slots__)) - {flag.name for flag in OWN}
    assert not ACCEPTED.keys() & set(Flags.__slots__)


def test_defaults_are_those_that_the_help_shows() -> None:
    flags = Flags()
    for name in Flags.__slots__:
        known = FLAGS[name]
        if name in ("rest_api_num_threads", "grpc_max_threads"):
            continue  # 0 stands for as many as fit the machine
        value = getattr(flags, name)
        shown = f"{value:.6f}" if known.kind == "float" else str(value)
        assert (shown.lower() if known.kind == "bool" else shown) == known.default


def test_batches_have_threads_to_wait_in() -> None:
    assert Flags().grpc_threads >= 16
    assert Flags(enable_batching=True).grpc_threads >= 128
    assert Flags(enable_batching=True, grpc_max_threads=3).grpc_threads == 3


def test_the_help_is_laid_out_as_the_originals() -> None:
    first, second, port, socket, *_ = usage("tensorflow_model_server", ()).splitlines()
    assert (first, second) == ("usage: tensorflow_model_server", "Flags:")
    words = "TCP port to listen on for gRPC/HTTP API. Disabled if port set to zero."
    assert port == f"\t--port=8500                      \tint32\t{words}"
    assert socket.startswith('\t--grpc_socket_path=""            \tstring\tIf non-empty, listen to a UNIX socket')

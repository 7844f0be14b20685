"""The command line by the original's rules: what is taken, what is told, what ends the start."""

from __future__ import annotations

from typing import Any

import pytest

from tfsdeploy.server.flags import ACCEPTED, QUIET, Flags, Unusable, parse


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
    (["--version", "--version=false"], {}),
    (["--like-tfs"], {"like_tfs": True}),
    (["--like-tfs=false"], {}),
    (["--allow_version_labels_for_unavailable_models"], {"allow_version_labels_for_unavailable_models": True}),
    (["--load_retry_interval_micros=5000000"], {"load_retry_interval_micros": 5_000_000}),
]


@pytest.mark.parametrize(("arguments", "expected"), TAKEN, ids=lambda value: " ".join(value) or "none")
def test_a_flag_is_taken(arguments: list[str], expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert different(parse(arguments)) == expected
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments",
    [["--nothing_like_it=1"], ["-port=9000"], ["port=9000"], ["--port", "9000"], ["--Port=9000"], ["stray"], ["--"]],
    ids=" ".join,
)
def test_what_is_no_flag_is_told_and_the_start_goes_on(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert different(parse(arguments)) == {}
    assert capsys.readouterr().err.splitlines() == [f"unknown argument: {argument}" for argument in arguments]


@pytest.mark.parametrize(
    "argument",
    [
        "--port=", "--port=http", "--port=1.5", "--port=0x10", "--version=1", "--version=TRUE", "--version=",
        "--like-tfs=yes", "--file_system_poll_wait_seconds=1s",
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_ends_the_start(argument: str) -> None:
    name, _, value = argument.removeprefix("--").partition("=")
    with pytest.raises(Unusable) as raised:
        parse([argument])
    assert str(raised.value) == f"Couldn't interpret value {value} for flag {name.replace('-', '_')}."


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_a_flag_of_the_original_that_does_nothing_here_says_so_once(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert different(parse([f"--{name}=1"])) == {}
    told = capsys.readouterr().err.splitlines()
    assert told == ([] if name in QUIET else [f"accepted, does nothing here: --{name}=1"])


def test_no_flag_is_both_carried_out_and_said_to_do_nothing() -> None:
    assert not ACCEPTED & set(Flags.__slots__)
    assert QUIET <= ACCEPTED

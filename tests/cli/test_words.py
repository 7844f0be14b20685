"""Kinds of words that commands take."""

from __future__ import annotations

import click
import pytest

from tfsdeploy.cli import words


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30.0), ("500ms", 0.5), ("2m", 120.0), ("1.5h", 5400.0), ("3", 3.0), ("0s", 0.0)]
)
def test_durations(text: str, value: float) -> None:
    assert words.seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1d", "nan", "1e3", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="a duration is expected"):
        words.seconds(text)


@pytest.mark.parametrize(("text", "value"), [("100", (100,)), ("5,25,100", (5, 25, 100)), ("1,99", (1, 99))])
def test_steps(text: str, value: tuple[int, ...]) -> None:
    assert words.steps(text) == value


@pytest.mark.parametrize("text", ["", "0", "101", "50,25", "5,5", "5,,10", "5;10", "a", "-5", "²"])
def test_what_are_no_steps(text: str) -> None:
    with pytest.raises(click.BadParameter):
        words.steps(text)


@pytest.mark.parametrize("text", ["0", "007", "+7", "1.0", "seven", "", "9007199254740993", "９"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no version"):
        words.version(text)

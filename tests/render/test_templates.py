"""Templates are found, strict, and quote whatever they are given."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from tfsdeploy.gateway.shape import SCRIPTS
from tfsdeploy.render import templates


def test_every_script_is_there() -> None:
    assert all(templates.text(f"envoy/{script}") for script in SCRIPTS)


def test_a_missing_value_is_an_error_and_not_an_empty_string() -> None:
    with pytest.raises(UndefinedError):
        templates.render("envoy/bootstrap.yaml.j2")


@given(st.text() | st.integers() | st.booleans() | st.none())
def test_a_quoted_scalar_is_that_scalar_in_yaml_and_json(value: object) -> None:
    quoted = templates.quote(value)
    assert json.loads(quoted) == value
    assert yaml.safe_load(f"key: {quoted}") == {"key": value}


@pytest.mark.parametrize(("value", "text"), [(1, "1s"), (0.5, "0.5s"), (300.0, "300s"), (0.005, "0.005s")])
def test_seconds(value: float, text: str) -> None:
    assert templates.seconds(value) == text

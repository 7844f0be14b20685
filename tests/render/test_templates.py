"""Templates are found, strict, and quote whatever they are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, UndefinedError, nodes

from tfsdeploy.gateway.shape import SCRIPTS
from tfsdeploy.render import templates

OWN_WORDS = {
    "agents-service.yaml.j2": {"members"},
    "parts.j2": {"key", "port"},
    "prometheusrule.yaml.j2": {"name", "lasting", "severity"},
    "role.yaml.j2": {"verbs"},
}
"""What a template, or who renders it, says itself, and no fleet file."""


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


@pytest.mark.parametrize("path", sorted((templates.folder() / "kubernetes").iterdir()), ids=lambda path: path.name)
def test_what_kubernetes_is_given_is_quoted(path: Path) -> None:
    shown = [part for output in Environment().parse(path.read_text()).find_all(nodes.Output) for part in output.nodes]
    filtered = ("quote", "below")
    bare = [part for part in shown if not (isinstance(part, nodes.Filter) and part.name in filtered)]
    words = {getattr(part, "name", repr(part)) for part in bare if not isinstance(part, nodes.TemplateData)}
    assert words == OWN_WORDS.get(path.name, set())


@pytest.mark.parametrize(("value", "text"), [(1, "1s"), (0.5, "0.5s"), (300.0, "300s"), (0.005, "0.005s")])
def test_seconds(value: float, text: str) -> None:
    assert templates.seconds(value) == text

"""The one declaration of the grammar: it, the dataclasses, the schema and the page say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest
import yaml

from tfsdeploy.errors import InvalidFile
from tfsdeploy.fleet.flags import FLAGS, REFUSED_FLAGS
from tfsdeploy.fleet.grammar import FLEET, reference, schema
from tfsdeploy.fleet.kinds import ABSENT, REQUIRED, Key, Section, inside
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.nodes import Problems, read_tree
from tfsdeploy.fleet.read import INVALID, read, snake
from tfsdeploy.fleet.starter import starter_text

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
HEAD = {"apiVersion": "tfsdeploy/v1", "kind": "Fleet", "name": "shop", "store": "file://./models"}


def sections(section: Section = FLEET, path: str = "") -> Iterator[tuple[str, Section]]:
    yield path, section
    for key in section.keys:
        inner, _ = inside(key.kind)
        if isinstance(inner, Section):
            yield from sections(inner, f"{path}.{key.name}")


KEYS = [(f"{path}.{key.name}", key) for path, section in sections() for key in section.keys]


@pytest.mark.parametrize(("path", "section"), [(p, s) for p, s in sections() if s.made], ids=lambda x: str(x)[:40])
def test_a_section_has_the_fields_of_its_dataclass(path: str, section: Section) -> None:
    assert section.made is not None
    assert [snake(key.name) for key in section.keys] == [field.name for field in fields(section.made)]


@pytest.mark.parametrize(("path", "key"), KEYS, ids=[path for path, _ in KEYS])
def test_every_example_and_default_is_what_its_key_takes(path: str, key: Key) -> None:
    for text in filter(None, (key.example, _written(key))):
        problems = Problems("fleet.yaml")
        value = read(key.kind, read_tree(text, problems), path, problems, {})
        problems.check()
        assert value is not INVALID


def _written(key: Key) -> str:
    plain = isinstance(key.default, (bool, int, float, str)) and key.default not in (REQUIRED, ABSENT)
    return json.dumps(key.default).strip('"') if plain else ""


def test_every_flag_of_the_model_server_is_known() -> None:
    names = [key.name for key in FLAGS]
    assert len(names) + len(REFUSED_FLAGS) == 48
    assert not set(names) & set(REFUSED_FLAGS)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema())) == schema()


@pytest.mark.parametrize(
    "text", [*(file.read_text() for file in EXAMPLES), starter_text("shop")], ids=range(len(EXAMPLES) + 1)
)
def test_the_schema_takes_what_is_valid(text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"models": {}},
        {"models": {"../x": {}}},
        {"models": {"m": None}},
        {"models": {"m": {"version": "7"}}},
        {"models": {"m": {"version": 0}}},
        {"models": {"m": {"version": 2**53}}},
        {"models": {"m": {"canary": {"version": 8}}}},
        {"models": {"m": {"version": 7, "canary": {"version": 8, "weight": 100}}}},
        {"models": {"m": {"labels": {"a/b": 7}}}},
        {"models": {"m": {}}, "replicas": 3},
        {"models": {"m": {}}, "serving": {"replicas": "3"}},
        {"models": {"m": {}}, "serving": {"flags": {"port": 8500}}},
        {"models": {"m": {}}, "serving": {"resources": {"memory": "4g"}}},
        {"models": {"m": {}}, "serving": {"resources": {"memory": 4}}},
        {"models": {"m": {}}, "serving": {"labels": {"pod-template-hash": "x"}}},
        {"models": {"m": {}}, "gateway": {"annotations": {"tfsdeploy/settings": "x"}}},
        {"models": {"m": {}}, "gateway": {"service": "clusterip"}},
        {"models": {"m": {}}, "store": "http://models"},
        {"models": {"m": {}}, "storeOptions": {"password": "x"}},
        {"models": {"m": {}}, "name": "Shop"},
        {"models": {"m": {}}, "kind": "fleet"},
    ],
    ids=str,
)
def test_schema_and_validation_refuse_alike(more: dict[str, object]) -> None:
    document = {**HEAD, **more}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)
    with pytest.raises(InvalidFile):
        parse_fleet(json.dumps(document), "fleet.yaml")


def test_the_page_has_every_key_and_reason() -> None:
    page = reference()
    for path, key in KEYS:
        assert f"| `{key.name}` |" in page, path
    for _, section in sections():
        for name in section.refused:
            assert f"`{name}`" in page
    assert all(line.count(" | ") == 3 for line in page.splitlines() if line.startswith("| `"))

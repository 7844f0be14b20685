"""What is rendered for Docker is what was reviewed, and Compose's own schema takes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.render.docker.goldens import NAMES, fleet_file, rendered
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.render.docker.compose import COMPOSE, MARKER, docker_artefacts
from tfsdeploy.render.docker.containers import replica
from tfsdeploy.render.docker.shape import digest, labels, shape
from tfsdeploy.targets.settings import settings_from_text

SCHEMA = Path(__file__).with_name("compose-spec.json")
"""Of the Compose specification (compose-spec/compose-go v2.9.1, Apache-2.0), as it is."""


@pytest.mark.parametrize("name", NAMES)
def test_rendered_as_reviewed(name: str) -> None:
    found = docker_artefacts(load_fleet(fleet_file(name)))
    assert found == rendered(name), "`make golden` renders them anew; review the difference"
    assert found[COMPOSE].startswith(MARKER)


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_of_compose_takes_it(name: str) -> None:
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in validator.iter_errors(yaml.safe_load(rendered(name)[COMPOSE]))] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_container_is_locked_down(name: str) -> None:
    services: dict[str, Any] = yaml.safe_load(rendered(name)[COMPOSE])["services"]
    for service in services.values():
        assert service["user"] == "65532:65532"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"
        assert "privileged" not in service
        assert not any("docker.sock" in str(volume) for volume in service["volumes"])
    open_to_clients = [n for n, one in services.items() if "ports" in one or one.get("network_mode") == "host"]
    assert open_to_clients == [n for n in services if n.endswith("envoy")]


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_what_commands_read(name: str) -> None:
    fleet = load_fleet(fleet_file(name))
    settings = settings_from_text(rendered(name)["given/settings.json"])
    assert (settings.fleet, settings.target, settings.store) == (fleet.name, "docker", fleet.store.url)


def test_units_of_a_kind_have_one_digest() -> None:
    fleet = load_fleet(fleet_file("everything"))
    made = [labels(fleet, one)["tfsdeploy.digest"] for ordinal in (1, 7) for one in replica(fleet, ordinal)]
    assert set(made) == {digest(shape(fleet, "replica"))}


def test_what_is_handed_over_changes_its_container_alone() -> None:
    """Compose looks at nothing else before it leaves a container as it is."""
    fleet = load_fleet(fleet_file("everything"))
    models = fleet.models | {"ranker": replace(fleet.models["ranker"], version=9)}
    before, after = (
        yaml.safe_load(docker_artefacts(one)[COMPOSE])["services"] for one in (fleet, replace(fleet, models=models))
    )
    assert [name for name in before if before[name] != after[name]] == ["shop-keeper"]

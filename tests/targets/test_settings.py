"""What is known of a fleet without its file: written, read back, and by an older version's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.render.containers import model_server_flags
from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.kubernetes.target import server_memory, server_tflite
from tfsdeploy.targets.settings import memory_limit, settings_from_text, settings_of, settings_to_text

GOLDEN = Path(__file__).parents[1] / "golden" / "kubernetes"
SETTINGS = Settings(
    "shop", "docker", "/f", "file:///m", {"require_signature": ["k"]}, 3, 2, 1, memory=2**32, tflite=True
)


def test_settings_survive() -> None:
    assert settings_from_text(settings_to_text(SETTINGS)) == SETTINGS


def test_an_older_version_wrote_less() -> None:
    plain = json.loads(settings_to_text(SETTINGS))
    del plain["memory"], plain["tflite"]
    older = settings_from_text(json.dumps(plain))
    assert (older.memory, older.tflite) == (None, None)
    with pytest.raises(ValueError, match="tflite is 'yes'"):
        settings_from_text(json.dumps(plain | {"tflite": "yes"}))
    with pytest.raises(ValueError, match="memory is '4Gi'"):
        settings_from_text(json.dumps(plain | {"memory": "4Gi"}))


@pytest.mark.parametrize(
    ("amount", "size"), [(None, None), ("4Gi", 2**32), ("1500M", 1_500_000_000), ("1.5Gi", 3 * 2**29), ("many", None)]
)
def test_amounts(amount: str | None, size: int | None) -> None:
    assert memory_limit(amount) == size


@pytest.mark.parametrize(("fleet", "size"), [("everything", 4 << 30), ("smallest", None)])
def test_a_clusters_limit_is_that_of_its_deployment(fleet: str, size: int | None) -> None:
    text = (GOLDEN / fleet / "rendered" / "serving-deployment.yaml").read_text()
    assert server_memory(yaml.safe_load(text)) == size


@pytest.mark.parametrize("flags", [{}, {"prefer_tflite_model": True}, {"prefer_tflite_model": False}])
def test_whether_tflite_models_are_loaded_is_known_from_the_file_and_from_the_cluster(flags: dict[str, bool]) -> None:
    head = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: f\nstore: s3://models/p\nmodels: {m: {}}\n"
    fleet = parse_fleet(f"{head}serving: {{flags: {json.dumps(flags)}}}\n", "fleet.yaml")
    loads = flags.get("prefer_tflite_model", False)
    assert settings_of(fleet, "kubernetes", "/f").tflite is loads
    server = {"name": "server", "args": [*model_server_flags(fleet, "/b")]}
    assert server_tflite({"spec": {"template": {"spec": {"containers": [server]}}}}) is loads

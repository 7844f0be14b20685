"""What is known of a fleet without its file: written, read back, and by an older version's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.kubernetes.target import server_memory
from tfsdeploy.targets.settings import memory_limit, settings_from_text, settings_to_text

GOLDEN = Path(__file__).parents[1] / "golden" / "kubernetes"
SETTINGS = Settings("shop", "docker", "/f", "file:///m", {"require_signature": ["k"]}, 3, 2, 1, memory=2**32)


def test_settings_survive() -> None:
    assert settings_from_text(settings_to_text(SETTINGS)) == SETTINGS


def test_an_older_version_wrote_no_limit() -> None:
    plain = json.loads(settings_to_text(SETTINGS))
    del plain["memory"]
    assert settings_from_text(json.dumps(plain)).memory is None
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

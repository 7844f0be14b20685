"""One server for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.server.live import Live
from tests.server.samples import FLEET, ODD_NAMES, write_fleet


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with every sample model loaded."""
    folder = tmp_path_factory.mktemp("fleet")
    file = write_fleet(folder)
    (folder / "monitoring").write_text('prometheus_config { enable: true, path: "/metrics" }')
    flags = [
        f"--model_config_file={file}",
        f"--monitoring_config_file={folder / 'monitoring'}",
        "--allow_version_labels_for_unavailable_models",
        "--max_num_load_retries=0",
    ]
    with Live(folder / "server.log", *flags) as server:
        for model, versions in FLEET.items():
            server.serves(model, *versions)
        for model in ODD_NAMES:
            server.serves(quote(model, safe=""), *FLEET["half_plus_three"])
        yield server

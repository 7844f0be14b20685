"""One server for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.live import Live
from tests.server.samples import write_fleet


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
        server.serves("half_plus_two", 123)
        server.serves("multi", 1)
        server.serves("halves", 123)
        server.serves("clf", 1)
        server.serves("counter", 123)
        server.serves("nodefault", 1)
        server.serves("versions", 1, 2, 3)
        yield server

"""What is said of a port that cannot be had: the words of the engine and of Envoy."""

from __future__ import annotations

import pytest

from tfsdeploy.targets.docker.engine import busy_port


@pytest.mark.parametrize(
    ("said", "message", "way_out"),
    [
        ("Bind for 0.0.0.0:8501 failed: port is already allocated", "the port 0.0.0.0:8501 is in use", "gateway.rest"),
        ("listen tcp4 0.0.0.0:8501: bind: address already in use", "the port 0.0.0.0:8501 is in use", "gateway.rest"),
        ("cannot bind '10.0.0.1:8501': Address already in use", "the port 10.0.0.1:8501 is in use", "gateway.rest"),
        ("cannot bind '0.0.0.0:80': Permission denied", "only root may listen at 0.0.0.0:80 of the host", "bridge"),
        ("no space left on device", None, ""),
    ],
)
def test_words(said: str, message: str | None, way_out: str) -> None:
    found = busy_port(f"warning {said}", "shop-gateway-1-envoy")
    assert (None if found is None else found.message) == message
    assert found is None or way_out in found.hint

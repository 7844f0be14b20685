"""What the words of the engine and of Envoy are turned into, for who has to do something about it."""

from __future__ import annotations

import pytest

from tfsdeploy.targets.docker.refusals import busy_port, no_image, refused


@pytest.mark.parametrize(
    ("said", "message", "way_out"),
    [
        ("Bind for 0.0.0.0:8501 failed: port is already allocated", "the port 0.0.0.0:8501 is in use", "gateway.rest"),
        ("listen tcp4 0.0.0.0:8501: bind: address already in use", "the port 0.0.0.0:8501 is in use", "gateway.rest"),
        ("cannot bind '10.0.0.1:8501': Address already in use", "the port 10.0.0.1:8501 is in use", "gateway.rest"),
        ("cannot bind '0.0.0.0:80': Permission denied", "only root may listen at 0.0.0.0:80 of the host", "bridge"),
        ("write /x: no space left on device", "the engine's disk is full", "docker system df"),
        ("The name is already in use by container 1f", "a container of this name is there already", "rename it"),
        ("bind source path does not exist: /m", "the store's folder is not on the engine's machine: /m", "`store`"),
        ("something new", "the Docker engine refuses: warning something new", ""),
    ],
)
def test_words(said: str, message: str, way_out: str) -> None:
    found = refused(f"warning {said}", "shop-gateway-1-envoy")
    assert (found.message, found.where) == (message, "shop-gateway-1-envoy")
    assert way_out in found.hint


def test_other_words_are_no_matter_of_ports() -> None:
    assert busy_port("no space left on device", "shop-gateway-1-envoy") is None


@pytest.mark.parametrize(
    ("image", "way_out"),
    [
        ("tfsdeploy/agent:0.1.0", "`tfsdeploy image build` makes it"),
        ("registry.example:5000/team/tfsdeploy/model-server:1", "`tfsdeploy image build` makes it"),
        ("tensorflow/serving:2.20.0", "`docker load` it"),
    ],
)
def test_an_image_that_nobody_has(image: str, way_out: str) -> None:
    found = no_image(image, "pull access denied\nfor more information …")
    assert found.message == f"the image {image} is not there and cannot be pulled: pull access denied"
    assert found.hint.startswith(way_out)

"""The Dockerfiles, as far as they can be judged without an engine: who runs, what is copied, what is left out."""

from __future__ import annotations

import re

import pytest

from tests.cluster.dockerfile import IMAGES, read, said_by
from tests.cluster.product import ROOT

NAMES = ("agent", "model-server")


@pytest.mark.parametrize("name", NAMES)
def test_nobody_runs_as_root(name: str) -> None:
    said = said_by(name)
    assert said.user == "65532:65532"
    assert said.entrypoint[0] in re.findall(r"^([a-z-]+) = \"tfsdeploy", (ROOT / "pyproject.toml").read_text(), re.M)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_copied_is_in_the_context_and_in_the_tree(name: str) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    assert sorted(said_by(name).context) == sorted(kept)
    assert all((ROOT / path).exists() for path in said_by(name).context)


def test_the_model_server_goes_by_the_name_of_the_original() -> None:
    assert said_by("model-server").links == {"tensorflow_model_server": "tfsdeploy-model-server"}
    assert said_by("agent").links == {}
    assert (said_by("model-server").extra, said_by("agent").extra) == ("server", "signing")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER", "RUN apt-get install -y curl\nUSER"),
        ("USER", "WORKDIR /srv\nUSER"),
        ("--no-deps /src", "--no-deps /src && rm -r /product/bin"),
        (" --constraint=/src/constraints.txt", ""),
        ("/dependencies /usr/local", "/dependencies /opt"),
        ("COPY --from=build /product /usr/local\n", ""),
        ("3.11-slim", "3.12-slim"),
        ("USER 65532:65532", "USER 1:1"),
        (" /folders/state", ""),
    ],
)
def test_a_step_that_the_images_of_the_cluster_would_not_follow_is_an_error(old: str, new: str) -> None:
    """Else they would be other images than those of the Dockerfiles, and nobody would know."""
    text = (IMAGES / "agent.Dockerfile").read_text()
    assert old in text
    with pytest.raises(ValueError, match=r"images of the tests|not copied"):
        read(text.replace(old, new))

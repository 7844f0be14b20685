"""What an ssh:// engine's URL becomes: tables. The way itself is tested with a real sshd, in tests/docker."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

import pytest

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.targets.docker.ssh import dial_of, login_of, short_enough


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("ssh://host", ["--", "host"]),
        ("ssh://ann@host:2222", ["-l", "ann", "-p", "2222", "--", "host"]),
        ("ssh://-oProxyCommand=x@host", ["-l", "-oProxyCommand=x", "--", "host"]),
    ],
)
def test_login(url: str, login: list[str]) -> None:
    assert login_of(urlsplit(url)) == login


@pytest.mark.parametrize("url", ["ssh://", "ssh://-oProxyCommand=x", "ssh://host:port", "ssh://ann:s3cret@host"])
def test_what_makes_no_sense_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(TfsdeployError) as raised:
        login_of(urlsplit(url))
    assert "DOCKER_HOST" in raised.value.message
    assert "s3cret" not in f"{raised.value} {raised.value.where} {raised.value.hint}"


@pytest.mark.parametrize("path", ["/run/user/1000/docker.sock", "/run/$(id); touch x/'s"])
def test_another_socket_reaches_the_other_machines_shell_as_one_word(path: str) -> None:
    assert shlex.split(dial_of(path)) == ["docker", "--host", f"unix://{path}", "system", "dial-stdio"]


@pytest.mark.parametrize("path", ["", "/"])
def test_the_usual_socket(path: str) -> None:
    assert dial_of(path) == "docker system dial-stdio"


def test_sockets_are_made_where_their_addresses_fit() -> None:
    assert short_enough("/tmp/of/mine") == "/tmp/of/mine"
    assert short_enough("/var/folders/" + "x" * 60) == "/tmp"

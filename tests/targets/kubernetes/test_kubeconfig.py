"""Kubeconfigs that lead nowhere are named with what is wrong; none ends in a traceback or a long wait."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.targets.kubernetes.connection import Connection, Place
from tfsdeploy.targets.kubernetes.kubeconfig import context_entry

GOOD = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: shop}}]
current-context: x
"""
SERVER = '"https://127.0.0.1:1"'
EXEC = "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: %s}"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"),
        (b"", "is empty"),
        (b": : [", "is no kubeconfig: while parsing"),
        (b"\xff\xfe\x00", "is no kubeconfig: 'utf-8' codec"),
        (b"hello", "is no kubeconfig"),
        (b"[1, 2]", "is no kubeconfig"),
        (GOOD.replace("current-context: x", ""), "current-context"),
        (GOOD.replace("current-context: x", "current-context: gone"), "name gone"),
        (GOOD.replace("{cluster: c", "{cluster: gone"), "name gone"),
        (GOOD.replace("token: t", "client-certificate: /gone.crt, client-key: /gone.key"), "/gone.crt"),
        (GOOD.replace("token: t", "tokenFile: /gone"), "/gone"),
        (GOOD.replace("token: t", "auth-provider: {name: gcp}"), "is no kubeconfig"),
        (GOOD.replace(SERVER, f"{SERVER}, certificate-authority: /gone.ca"), "/gone.ca"),
        (GOOD.replace(SERVER, '"not a url"'), "server cannot be asked"),
        (GOOD.replace(f"server: {SERVER}", 'server: "c.test:6443"'), "server cannot be asked"),
    ],
)
def test_what_leads_to_no_cluster(file: Path, content: bytes | str | None, said: str) -> None:
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=said):
        Connection(Place()).ask("GET", "version")


@pytest.mark.parametrize(
    ("command", "said"),
    [("no-such-plugin", "No such file or directory: 'no-such-plugin'"), ("'false'", "process returned 1")],
)
def test_a_credentials_plug_in_that_fails_is_named(file: Path, command: str, said: str) -> None:
    file.write_text(GOOD.replace("token: t", EXEC % command))
    with pytest.raises(TfsdeployError, match=said) as caught:
        Connection(Place()).credentials()
    assert "log in anew" in caught.value.hint


def test_contexts(file: Path) -> None:
    file.write_text(GOOD)
    assert (Connection(Place()).context, Connection(Place()).namespace) == ("x", "shop")
    assert Connection(Place(namespace="other")).namespace == "other"
    with pytest.raises(UsageError, match="no context gone, but x"):
        context_entry("gone")


def test_without_a_word_it_is_the_file_at_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / ".kube").mkdir()
    (file.parent / ".kube" / "config").write_text(GOOD)
    monkeypatch.setenv("HOME", str(file.parent))
    monkeypatch.setenv("KUBECONFIG", "")
    assert context_entry(None)["name"] == "x"
    monkeypatch.delenv("KUBECONFIG")
    assert context_entry(None)["name"] == "x"


def test_the_proxy_of_a_cluster_is_used(file: Path) -> None:
    asked = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.server_port}"
        file.write_text(GOOD.replace(SERVER, f'"http://api.invalid", proxy-url: "{address}"'))
        Connection(Place()).ask("GET", "version")
        proxy.shutdown()
    assert asked == ["http://api.invalid/version"]

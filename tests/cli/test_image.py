"""`tfsdeploy image`, with programs that write down how they were called: no engine, kind or minikube runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tfsdeploy.fleet.grammar import AGENT_IMAGE

FILE = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: pvc://models\nmodels: {m: {}}\n"

CONTEXTS = """\
apiVersion: v1
kind: Config
clusters: [{name: kind-test, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: kind-test, context: {cluster: kind-test, user: u}}
- {name: far, context: {cluster: kind-test, user: u}}
current-context: kind-test
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which `docker` and `kind` write down their words, and the folder's files they were called with."""
    programs, said = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    for name in ("docker", "kind"):
        refuses = 'case "$*" in *--platform*) echo "no such host" >&2; exit 1;; esac'
        text = f'#!/bin/sh\necho "{name} $*" >> {said}\n{refuses}\n'
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    (tmp_path / "fleet.yaml").write_text(FILE)
    (tmp_path / "kubeconfig").write_text(CONTEXTS)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return said


def test_build_push_and_load(run: Run, calls: Path) -> None:
    built = run("image", "build", "--push", "-o", "json")
    assert (built.code, built.document("image")["images"]) == (0, [AGENT_IMAGE])
    assert run("image", "push").out == f"{AGENT_IMAGE}\n"
    assert run("image", "load").code == 0
    assert calls.read_text().splitlines() == [
        f"docker build --file images/agent.Dockerfile --tag {AGENT_IMAGE} .",
        f"docker push {AGENT_IMAGE}",
        f"docker push {AGENT_IMAGE}",
        f"docker image inspect --format {{{{.Id}}}} {AGENT_IMAGE}",
        f"kind load docker-image {AGENT_IMAGE} --name test",
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("load", "--context", "far"), 2, "neither kind's nor minikube's"),
        (("load", "--context", "nowhere"), 2, "no context nowhere, but far, kind-test"),
        (("push", "--push"), 2, "belong to `image build`"),
        (("build", "--platform", "linux/arm64"), 1, "does this machine reach the registry"),
        (("build", "--platform", "linux/arm64", "--platform", "linux/amd64"), 2, "one platform only"),
        (("bake",), 2, "bake"),
    ],
)
def test_what_cannot_be_done(run: Run, calls: Path, words: tuple[str, ...], code: int, said: str) -> None:
    shown = run("image", *words)
    assert shown.code == code
    assert said in shown.err


@pytest.mark.parametrize("action", ["build", "push"])
def test_what_is_named_by_its_digest_is_built_already(run: Run, calls: Path, tmp_path: Path, action: str) -> None:
    (tmp_path / "fleet.yaml").write_text(f'{FILE}agent: {{image: "team/agent@sha256:{"a" * 64}"}}\n')
    refused = run("image", action)
    assert (refused.code, "by its tag" in refused.err) == (2, True)
    assert not calls.exists()


def test_programs_that_are_not_there(run: Run, calls: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "the program docker is not there" in run("image", "build").err
    assert "build it first" in run("image", "load").err

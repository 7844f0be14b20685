"""A change that goes through Git: one commit of the fleet file and what is rendered, or nothing at all."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tfsdeploy.deploy.artefacts_folder import write_artefacts
from tfsdeploy.deploy.git import Committed, commit_model
from tfsdeploy.deploy.rendering import render_kubernetes
from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.release.transitions import add

FLEET = """\
apiVersion: tfsdeploy/v1
kind: Fleet
name: shop
target: kubernetes
store: pvc://models
models:
  ranker: {version: 7}  # the one that everybody likes
  free: {}
"""

SEVEN = add(7, None)
EIGHT = replace(SEVEN, main=8, traffic={8: 100})
CANARY = replace(SEVEN, traffic={7: 90, 8: 10})


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a fleet and what is rendered from it."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "ann")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ann@example.org")
    folder = tmp_path / "fleets"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "fleet.yaml").write_text(FLEET)
    rendered = render_kubernetes([load_fleet(folder / "fleet.yaml")])
    write_artefacts(folder / "deploy", rendered.artefacts, marker=rendered.marker, patterns=rendered.patterns)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "Begin")
    return folder


def committed(repository: Path, wanted: object = EIGHT, name: str = "ranker") -> Committed:
    file, folder = repository / "fleet.yaml", repository / "deploy"
    return commit_model(
        file, folder, name, wanted, namespace=None, message=f"promote {name} 8", why="better scores"
    )  # fmt: skip


def test_one_commit_holds_file_and_rendered_files(repository: Path) -> None:
    (repository / "notes").write_text("not part of it")
    done = committed(repository)
    assert git(repository, "rev-parse", "--short", "HEAD").strip() == done.commit
    assert done.branch == "main"
    assert git(repository, "log", "-1", "--format=%s|%b").strip() == "promote ranker 8|better scores"
    changed = git(repository, "show", "--name-only", "--format=").split()
    assert "fleet.yaml" in changed
    assert any(path.startswith("deploy/pins-job") or "pins" in path for path in changed)
    assert "ranker: {version: 8}  # the one that everybody likes" in (repository / "fleet.yaml").read_text()
    assert git(repository, "status", "--porcelain").strip() == "?? notes"


def test_beside_other_fleets_only_the_own_folder_changes(repository: Path) -> None:
    fleets = [repository / "fleet.yaml", repository / "other.yaml"]
    fleets[1].write_text(FLEET.replace("shop", "other"))
    rendered = render_kubernetes([load_fleet(file) for file in fleets])
    write_artefacts(repository / "deploy", rendered.artefacts, marker=rendered.marker, patterns=rendered.patterns)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "Two fleets")
    committed(repository)
    changed = set(git(repository, "show", "--name-only", "--format=").split())
    assert "deploy/default/shop/pins-configmap.yaml" in changed
    assert {path for path in changed if not path.startswith("deploy/default/shop/")} == {"fleet.yaml"}


def test_a_canary_is_one_commit_too(repository: Path) -> None:
    committed(repository, CANARY)
    assert load_fleet(repository / "fleet.yaml").models["ranker"].canary is not None


def test_what_to_push_is_said_wherever_the_commit_is(repository: Path) -> None:
    assert committed(repository).push == "git push origin main"
    git(repository, "config", "branch.main.remote", "upstream")
    assert committed(repository, CANARY).push == "git push upstream main"
    git(repository, "checkout", "--quiet", "--detach")
    done = committed(repository, SEVEN)
    assert (done.branch, done.push) == ("", "git push origin HEAD:BRANCH")
    assert git(repository, "rev-parse", "--short", "HEAD").strip() == done.commit


def test_a_file_deep_in_the_repository_with_any_name(repository: Path) -> None:
    home = repository / "teams" / "größe & maß"
    home.mkdir(parents=True)
    for name in ("fleet.yaml", "deploy"):
        git(repository, "mv", name, str(home / name))
    with pytest.raises(UsageError, match=r"not committed yet: .*größe & maß"):
        committed(home)
    git(repository, "commit", "--quiet", "--all", "-m", "Move")
    committed(home)
    assert "version: 8" in git(repository, "show", f"HEAD:{home.relative_to(repository)}/fleet.yaml")
    assert git(repository, "status", "--porcelain") == ""


def test_a_folder_that_git_ignores_is_refused_and_not_left_behind(repository: Path) -> None:
    (repository / ".gitignore").write_text("/out*\n")
    file = repository / "fleet.yaml"
    with pytest.raises(UsageError, match=r"\.gitignore:1:/out\*"):
        commit_model(file, repository / "out", "ranker", EIGHT, namespace=None, message="m", why="")
    assert not (repository / "out").exists()
    assert file.read_text() == FLEET


@pytest.mark.parametrize(("breaks", "said"), [("author", "tell me who you are"), ("git", "git cannot be run")])
def test_without_an_author_or_git_nothing_is_left_half_done(
    repository: Path, monkeypatch: pytest.MonkeyPatch, breaks: str, said: str
) -> None:
    if breaks == "git":
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.delenv(f"GIT_{who}_NAME")
            monkeypatch.delenv(f"GIT_{who}_EMAIL")
        monkeypatch.setenv("HOME", "/nowhere")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
        git(repository, "config", "user.useConfigOnly", "true")
    with pytest.raises(TfsdeployError, match=said):
        committed(repository)
    monkeypatch.undo()
    assert (repository / "fleet.yaml").read_text() == FLEET
    assert git(repository, "status", "--porcelain") == ""


def test_what_cannot_be_committed_is_refused_before_anything_is_written(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not pinned"):
        committed(repository, name="free")
    with pytest.raises(UsageError, match="pins ranker so already"):
        committed(repository, SEVEN)
    (repository / "deploy" / "kustomization.yaml").write_text("edited by hand")
    with pytest.raises(UsageError, match=r"not committed yet: deploy/kustomization\.yaml"):
        committed(repository)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "fleet.yaml").write_text(FLEET)
    with pytest.raises(UsageError, match="not a git repository"):
        committed(alone)


def test_a_commit_that_git_refuses_leaves_everything_as_it_was(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho reviewed by nobody >&2\nexit 1\n")
    hook.chmod(0o755)
    before = {file: file.read_bytes() for file in repository.rglob("*") if file.is_file() and ".git" not in file.parts}
    with pytest.raises(TfsdeployError, match="reviewed by nobody"):
        committed(repository)
    after = {file: file.read_bytes() for file in repository.rglob("*") if file.is_file() and ".git" not in file.parts}
    assert after == before
    assert git(repository, "status", "--porcelain") == ""

"""`render` for Kubernetes, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run

FLEET = """\
apiVersion: tfsdeploy/v1
kind: Fleet
name: shop
store: pvc://models
models: {ranker: {version: 7}}
"""


@pytest.fixture(autouse=True)
def fleet_file(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path / "fleet.yaml"


def test_a_folder_a_stream_and_json_say_the_same(run: Run, tmp_path: Path) -> None:
    document = run("render", "-t", "kubernetes", "-o", "json").document("render")
    assert (document["fleet"], document["target"], document["podSecurity"]) == ("shop", "kubernetes", "restricted")
    texts = {row["path"]: row["text"] for row in document["artefacts"]}
    written = run("render", "-t", "kubernetes", "-o", "deploy")
    assert (written.code, written.err) == (0, "")
    assert texts == {path.name: path.read_text() for path in (tmp_path / "deploy").iterdir()}
    streamed = list(yaml.safe_load_all(run("render", "-t", "kubernetes", "-o", "-").out))
    assert streamed == [yaml.safe_load(text) for path, text in texts.items() if path != "kustomization.yaml"]
    resources = yaml.safe_load(texts["kustomization.yaml"])["resources"]
    assert resources == sorted(path for path in texts if path != "kustomization.yaml")


def test_the_fleet_file_names_target_and_namespace_and_the_command_line_wins(run: Run, fleet_file: Path) -> None:
    fleet_file.write_text(FLEET + "target: kubernetes\nnamespace: prod\n")
    found = {item["metadata"]["namespace"] for item in yaml.safe_load_all(run("render").out)}
    assert found == {"prod"}
    found = {item["metadata"]["namespace"] for item in yaml.safe_load_all(run("render", "--namespace", "try").out)}
    assert found == {"try"}
    assert run("render", "-t", "local").out.startswith("# replica/agent.sh")
    for wrong in ("Try", "-x", "a" * 64, ""):
        assert run("render", f"--namespace={wrong}").code == 2
    assert "for the target kubernetes" in run("render", "-t", "local", "--namespace", "try").err


def test_many_fleets_in_one_call(run: Run, tmp_path: Path) -> None:
    for name, namespace in (("a", "prod"), ("b", "prod"), ("a", "test")):
        text = FLEET.replace("shop", name) + f"namespace: {namespace}\n"
        (tmp_path / f"{namespace}-{name}.yaml").write_text(text)
    files = ("prod-a.yaml", "prod-b.yaml", "test-a.yaml")
    words = ("render", "-t", "kubernetes", "-o", "deploy")
    assert run(*words, *files).code == 0
    top = tmp_path / "deploy"
    resources = yaml.safe_load((top / "kustomization.yaml").read_text())["resources"]
    assert resources == ["prod/a", "prod/b", "test/a"]
    assert all((top / path / "kustomization.yaml").exists() for path in resources)
    assert run(*words, *files[1:]).code == 0
    assert not (top / "prod" / "a").exists()
    assert (top / "prod" / "b").exists()
    document = run("render", "-t", "kubernetes", "-o", "json", *files).document("render")
    assert document["fleet"] is None
    # One alone would take the others out of the kustomization, and whoever prunes by it would end them.
    before = (top / "kustomization.yaml").read_text()
    alone = run(*words, "prod-b.yaml")
    assert (alone.code, "several fleets were rendered here" in alone.err) == (2, True)
    assert (top / "kustomization.yaml").read_text() == before
    assert run("render", "-t", "kubernetes", "-o", "deploy/prod/b", "prod-b.yaml").code == 0
    clash = run(*words, *files, "--namespace", "same")
    assert (clash.code, "already that of" in clash.err) == (2, True)


def test_a_level_that_is_less_than_restricted_is_told(run: Run, fleet_file: Path) -> None:
    fleet_file.write_text(FLEET.replace("pvc://models", "file:///srv/models") + "serving: {volume: inline}\n")
    ran = run("render", "-t", "kubernetes", "-o", "json")
    assert ran.document("render")["podSecurity"] == "privileged"
    assert "Pod Security level privileged" in ran.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (FLEET.replace("pvc://", "file:///"), "pods do not see"),
        (FLEET.replace("pvc://", "file://./"), "pods do not see"),
        (FLEET.replace("pvc://", "nfs://nas/") + "target: docker\n", "containers do not mount a nfs:// store"),
        (FLEET.replace("pvc://models", "pvc://shop-state") + "target: docker\n", "is the fleet's own"),
    ],
)
def test_what_cannot_be_rendered_is_said(run: Run, fleet_file: Path, text: str, says: str) -> None:
    fleet_file.write_text(text)
    ran = run("render", *(() if "docker" in text else ("-t", "kubernetes")), "-o", "deploy")
    assert (ran.code, says in ran.err) == (2, True), ran.err
    assert not (fleet_file.parent / "deploy").exists()


def test_a_foreign_file_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "kustomization.yaml").write_text("resources: [mine.yaml]\n")
    ran = run("render", "-t", "kubernetes", "-o", "deploy")
    assert (ran.code, "kustomization.yaml" in ran.err) == (2, True)
    assert (tmp_path / "deploy" / "kustomization.yaml").read_text() == "resources: [mine.yaml]\n"


def test_fleets_of_different_places_are_not_mixed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(FLEET.replace("shop", "other") + "target: kubernetes\n")
    assert "different places" in run("render", "fleet.yaml", "other.yaml").err

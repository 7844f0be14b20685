"""What holds for the objects of every fleet, as Kubernetes will read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.render.kubernetes.goldens import LEVELS, NAMES, fleet_file, objects
from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.load import load_fleet, parse_fleet
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.render.kubernetes.artefacts import KUSTOMIZATION, kubernetes_artefacts
from tfsdeploy.render.kubernetes.volumes import store_volume
from tfsdeploy.render.templates import quote

HEAD: dict[str, Any] = {"apiVersion": "tfsdeploy/v1", "kind": "Fleet", "name": "shop", "store": "pvc://models/prod"}

WORDS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?", fullmatch=True) | st.sampled_from(
    ["no", "yes", "null", "1e3", "0o7", "007", "20240101", "1.10", "true", "0x1F", "2024-01-01", ".5"[1:]]
)
KEYS = WORDS.map(lambda word: f"example.org/{word}")
ODD = ["a: b", "# no comment", "{{ x }}", "{% raw %}", "- x", "'\"\\", "$(POD_IP)", "$$", "\n", "---\n", "&a *a", " x "]
SEEN = st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp"), exclude_characters="\ufffc\ufffd\ufffe\uffff")
TEXTS = st.text(SEEN, max_size=60) | st.sampled_from(ODD)
VERSIONS = st.integers(1, 2**53 - 1) | st.sampled_from([20240101, 20240101123000, 7])


def objects_of(fleet: Fleet) -> list[dict[str, Any]]:
    texts = kubernetes_artefacts(fleet)
    return [yaml.safe_load(text) for path, text in texts.items() if path != KUSTOMIZATION]


def fleet_of(**more: Any) -> Fleet:
    return parse_fleet(quote({**HEAD, "models": {"m": {}}} | more), "/fleets/fleet.yaml")


def one(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (match,) = [item for item in found if item["kind"] == kind and item["metadata"]["name"] == name]
    return match


def pods(found: list[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for item in found:
        if item["kind"] in ("Deployment", "Job"):
            yield item["spec"]["template"]


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@given(
    labels=st.dictionaries(KEYS, WORDS, max_size=4),
    annotations=st.dictionaries(KEYS, TEXTS, max_size=4),
    selector=st.dictionaries(KEYS, WORDS, max_size=2),
    taint=st.none() | WORDS,
    path=st.from_regex(r"/[!-+\--~]{1,40}", fullmatch=True),
    versions=st.dictionaries(WORDS.filter(lambda w: re.fullmatch(r"[A-Za-z0-9_-]+", w)), VERSIONS, max_size=5),
)
def test_whatever_is_written_arrives_as_it_is(
    labels: dict[str, str],
    annotations: dict[str, str],
    selector: dict[str, str],
    taint: str | None,
    path: str,
    versions: dict[str, int],
) -> None:
    toleration = {"key": "example.org/taint"} | ({} if taint is None else {"value": taint})
    placed = {"labels": labels, "annotations": annotations, "nodeSelector": selector, "tolerations": [toleration]}
    flags = {"tensorflow_session_config_file": path}
    models = {"m": {}} | {name: {"version": version} for name, version in versions.items()}
    fleet = fleet_of(serving={**placed, "flags": flags}, gateway=placed, models=models)
    found = objects_of(fleet)
    for name in ("shop-serving", "shop-gateway"):
        deployment = one(found, "Deployment", name)
        template = deployment["spec"]["template"]
        for metadata in (deployment["metadata"], template["metadata"]):
            assert labels.items() <= metadata["labels"].items()
            assert annotations.items() <= metadata.get("annotations", {}).items()
        assert template["spec"].get("nodeSelector", {}) == selector
        operator = "Exists" if taint is None else "Equal"
        assert template["spec"]["tolerations"] == [{"operator": operator, **toleration}]
    (server,) = one(found, "Deployment", "shop-serving")["spec"]["template"]["spec"]["containers"]
    assert expanded(server["args"])["--tensorflow_session_config_file"] == path
    pins = Pins.from_json(json.loads(one(found, "ConfigMap", "shop-pins")["data"]["pins.json"]))
    assert pins == fleet.pins()
    assert {name: pin.version for name, pin in pins.models.items()} == versions


def expanded(args: list[str]) -> dict[str, str]:
    """Arguments as Kubernetes hands them on (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    assert not any(re.search(r"(?<!\$)(?:\$\$)*\$\((?!POD_NAME\)|POD_IP\))", arg) for arg in args)
    pairs = (arg.replace("$$", "$").partition("=") for arg in args)
    return {name: value for name, _, value in pairs}


def test_many_models_are_not_more_objects() -> None:
    few = kubernetes_artefacts(fleet_of(models={"m": {"version": 7}}))
    many = kubernetes_artefacts(fleet_of(models={f"m{i}": {"version": i + 1} for i in range(1000)}))
    assert list(few) == list(many)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_point_somewhere_point_at_what_is_there(name: str) -> None:
    found = objects(name)
    known = {(item["kind"], item["metadata"]["name"]) for item in found}
    assert len(known) == len(found)
    for pod in pods(found):
        assert ("ServiceAccount", pod["spec"]["serviceAccountName"]) in known
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert mounted == volumes
    labels = [pod["metadata"]["labels"] for pod in pods(found)]
    for item in found:
        if item["kind"] == "RoleBinding":
            (subject,) = item["subjects"]
            assert ("Role", item["roleRef"]["name"]) in known
            assert (subject["kind"], subject["name"]) in known
            assert subject["namespace"] == item["metadata"]["namespace"]
        if item["kind"] in ("Deployment", "PodDisruptionBudget"):
            chosen = item["spec"]["selector"]["matchLabels"]
            assert sum(chosen.items() <= one_of.items() for one_of in labels) == 1
        if item["kind"] == "Service":
            (pod,) = [p for p in pods(found) if item["spec"]["selector"].items() <= p["metadata"]["labels"].items()]
            # Before Kubernetes 1.32 a Service finds no port by its name in a sidecar.
            named = {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
            numbers = {port["containerPort"] for container in containers(pod) for port in container.get("ports", [])}
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= named | numbers


@pytest.mark.parametrize("name", NAMES)
def test_every_object_can_be_found_and_is_of_one_fleet(name: str) -> None:
    fleets = {
        (item["metadata"]["labels"]["tfsdeploy/fleet"], item["metadata"]["labels"]["app.kubernetes.io/instance"],
         item["metadata"]["labels"]["app.kubernetes.io/managed-by"])
        for item in objects(name)
    }  # fmt: skip
    ((fleet, instance, manager),) = fleets
    assert (fleet, manager) == (instance, "tfsdeploy")


@pytest.mark.parametrize("name", NAMES)
def test_the_release_is_never_rendered(name: str) -> None:
    names = {item["metadata"]["name"] for item in objects(name) if item["kind"] == "ConfigMap"}
    assert not {found for found in names if found.endswith(("-release", "-history"))}
    assert not [item for item in objects(name) if item["kind"] == "Secret"]


@pytest.mark.parametrize("name", NAMES)
def test_pods_keep_to_their_level(name: str) -> None:
    """The Pod Security Standards, version 1.34: https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    allowed |= {"restricted": set(), "baseline": {"nfs"}, "privileged": {"hostPath"}}[LEVELS.get(name, "restricted")]
    for pod in pods(objects(name)):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= allowed
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            # Only what makes a node's folder ours is root, and may do nothing else.
            own = {"runAsNonRoot": False, "runAsUser": 0} if container["name"] == "cache" else {}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]} | ({"add": ["CHOWN"]} if own else {}),
                **own,
            }
            assert not own or LEVELS.get(name) == "privileged"
            assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize("name", NAMES)
def test_only_agents_have_a_token(name: str) -> None:
    for pod in pods(objects(name)):
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in containers(pod):
            has = "token" in {mount["name"] for mount in container["volumeMounts"]}
            assert has == (container["name"] in ("agent", "pins"))


def test_only_envoy_sees_the_key_of_a_certificate() -> None:
    (pod,) = [pod for pod in pods(objects("everything")) if any(c["name"] == "envoy" for c in containers(pod))]
    (volume,) = [volume for volume in pod["spec"]["volumes"] if "secret" in volume]
    seen = {c["name"] for c in containers(pod) if volume["name"] in {mount["name"] for mount in c["volumeMounts"]}}
    assert seen == {"envoy"}


@pytest.mark.parametrize("name", NAMES)
def test_levels_are_told(name: str) -> None:
    assert store_volume(load_fleet(fleet_file(name))).level == LEVELS.get(name, "restricted")


@pytest.mark.parametrize("change", [{"agent": {"image": "team/agent:3"}}, {"models": {"m": {"version": 8}}}])
def test_a_job_that_would_differ_has_another_name(change: dict[str, Any]) -> None:
    """A Job cannot be changed, so that applying a changed one under its old name fails."""
    pinned = {"models": {"m": {"version": 7}}}
    before, after = (
        [item for item in objects_of(fleet_of(**more)) if item["kind"] == "Job"] for more in (pinned, pinned | change)
    )
    assert before[0]["metadata"]["name"] != after[0]["metadata"]["name"]
    same = [item for item in objects_of(fleet_of(**pinned, serving={"replicas": 9})) if item["kind"] == "Job"]
    assert same == before


@pytest.mark.parametrize(
    ("store", "says"),
    [("file:///srv/models", "pods do not see"), ("file:///srv/other", "pods do not see")],
)  # fmt: skip
def test_a_store_that_pods_cannot_reach_is_refused(store: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        kubernetes_artefacts(fleet_of(store=store))
    assert "pvc://" in caught.value.hint


def test_the_authority_of_an_object_store_reaches_the_agent_alone() -> None:
    options = {"endpoint": "https://s3.test", "caFile": "/etc/ssl/my ca.pem", "caConfigMap": "store-ca"}
    found = objects_of(fleet_of(store="s3://models", storeOptions=options))
    (pod,) = [pod for pod in pods(found) if any(c["name"] == "server" for c in containers(pod))]
    mounts = {c["name"]: {m["name"]: m["mountPath"] for m in c["volumeMounts"]} for c in containers(pod)}
    assert "authority" not in mounts["server"]
    (given,) = [word for c in containers(pod) for word in c["args"] if word.startswith("--store-options=")]
    assert json.loads(given.partition("=")[2])["ca_file"] == f"{mounts['agent']['authority']}/ca.crt"


def test_an_authority_that_pods_do_not_see_is_refused() -> None:
    options = {"endpoint": "https://s3.test", "caFile": "/etc/ssl/my ca.pem"}
    with pytest.raises(UsageError, match=re.escape("pods do not see /etc/ssl/my ca.pem")) as caught:
        kubernetes_artefacts(fleet_of(store="s3://models", storeOptions=options))
    assert "--from-file=ca.crt='/etc/ssl/my ca.pem'" in caught.value.hint

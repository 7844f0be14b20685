"""The chart gives the objects that `tfsdeploy render -t kubernetes` gives: with a real Helm, field by field."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, run
from tests.render.kubernetes.goldens import NAMES, fleet_file
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.load import load_fleet
from tfsdeploy.render.kubernetes.artefacts import KUSTOMIZATION, kubernetes_artefacts
from tfsdeploy.render.templates import quote
from tfsdeploy.targets.kubernetes.kinds import INVENTORY_LABEL

pytestmark = pytest.mark.chart

HEAD: dict[str, Any] = {"apiVersion": "tfsdeploy/v1", "kind": "Fleet", "name": "shop", "store": "pvc://models/prod"}
STAMPS = {"version": 1767225600, "canary": {"version": 1767225601, "weight": 5}, "labels": {"new": 1767225601}}


def differences(chart: Any, render: Any, where: str) -> Iterator[str]:
    """Each field that the two say differently."""
    if isinstance(chart, dict) and isinstance(render, dict):
        for key in sorted(chart.keys() | render.keys()):
            yield from differences(chart.get(key, "(absent)"), render.get(key, "(absent)"), f"{where}.{key}")
    elif isinstance(chart, list) and isinstance(render, list) and len(chart) == len(render):
        for index, pair in enumerate(zip(chart, render, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif type(chart) is not type(render) or chart != render:
        yield f"{where}: the chart says {chart!r}, the render {render!r}"


def by_name(objects: list[Any]) -> dict[str, Any]:
    named = {f"{found['kind']}/{found['metadata']['name']}": found for found in objects if found}
    assert len(named) == len([found for found in objects if found])
    return named


def compare(file: Path) -> None:
    made = run("template", "any", CHART, "--namespace", "default", "--skip-tests", "-f", file)
    assert made.returncode == 0, made.stderr
    texts = kubernetes_artefacts(load_fleet(file))
    rendered = [yaml.safe_load(text) for path, text in texts.items() if path != KUSTOMIZATION]
    chart = by_name(list(yaml.safe_load_all(made.stdout)))
    assert "\n".join(differences(chart, by_name(rendered), "")) == ""


@pytest.mark.parametrize("name", NAMES)
def test_golden_fleets(name: str) -> None:
    compare(fleet_file(name))


@pytest.mark.parametrize("seed", range(20))
def test_generated_fleets(seed: int, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(quote(generated(random.Random(seed))))
    compare(file)


def test_versions_that_are_time_stamps_arrive_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    models = {"ranker": STAMPS, "search": {"version": 2**53 - 1}, "other": {"version": 20240101123000}}
    flags = {"grpc_max_threads": 65536}
    file.write_text(
        quote({**HEAD, "gateway": {"maxRequestBytes": 1 << 30}, "serving": {"flags": flags}, "models": models})
    )
    compare(file)


@pytest.mark.parametrize(
    ("kind", "amount"), [("cpu", "0.50"), ("cpu", "2.0"), ("cpu", '"0.50"'), ("memory", "1048576.10")]
)
def test_amounts_without_a_unit_arrive_as_every_reader_of_yaml_has_them(kind: str, amount: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    resources = {"resources": {kind: "AMOUNT"}}
    document = {**HEAD, "serving": resources, "gateway": resources, "models": {"m": {}}}
    file.write_text(json.dumps(document).replace('"AMOUNT"', amount))
    compare(file)


@pytest.mark.parametrize("amount", ["537.28347G", "1.13G", "962.442Ti", "100.000001M"])
def test_amounts_with_a_fraction_are_as_many_bytes(amount: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    gateway = {"resources": {"memory": amount}}
    serving = {"disk": amount}
    file.write_text(
        quote({**HEAD, "store": "s3://models", "gateway": gateway, "serving": serving, "models": {"m": {}}})
    )
    compare(file)


def generated(chance: random.Random) -> dict[str, Any]:
    """A valid fleet file, other for each seed."""

    def some(**values: Any) -> dict[str, Any]:
        return {key: value for key, value in values.items() if chance.random() < 0.5}

    def pods() -> dict[str, Any]:
        return some(
            priorityClass="high",
            nodeSelector={"example.org/b": "7", "a": "no"},
            tolerations=[{"key": "example.org/t", **some(value="x", effect="NoExecute")}],
            labels={"example.org/z": "1e3", "example.org/a": "007"},
            annotations={"example.org/n": chance.choice(["a: <b> & {{ c }}", "ünï\nline", " x ", "", "$(POD_IP)"])},
        )

    store = chance.choice(
        ["pvc://models", "pvc://models/a/b/", "nfs://h.example/", "nfs://h.example/a/b", "nfs://h", "s3://models/prod/"]
    )
    options = some(endpoint="https://s3.example.org", region="eu-central-1", pathStyle=True, credentialsSecret="s3",
        bandwidth=chance.choice(["50Mi", 104857600]),
    )  # fmt: skip
    options |= {"caFile": "/etc/ca.pem", "caConfigMap": "store-ca"} if chance.random() < 0.5 else {}
    options |= some(conditionalWrites=False)
    # Of what a store's options say only this is for stores of every kind.
    keys = some(requireSignature=[f"ed25519:{letter * 43}=" for letter in "A/"[: chance.randrange(1, 3)]])
    fetched = {"storeOptions": (options if store.startswith("s3://") else {}) | keys}
    flags = some(
        enable_profiler=True,
        grpc_max_threads=chance.randrange(1, 65536),
        per_process_gpu_memory_fraction=chance.choice([0.25, 1.0, 0.1234567]),
        tensorflow_intra_op_parallelism=3,
        tensorflow_session_config_file="/etc/$(X)/$y",
    )
    resources = some(cpu=chance.choice([2, 0.5, "1500m", "20m"]), memory=chance.choice(["3Gi", 1073741824]), gpu=2)
    serving = some(
        replicas=chance.randrange(2, 9), keep=chance.randrange(1, 5), disk="20Gi", resources=resources, flags=flags,
        batching=some(maxBatchSize=32, batchTimeoutMicros=0, numBatchThreads=4, maxEnqueuedBatches=1048576),
        drainSeconds=chance.choice([0, 2.5, 3600, 0.123456789]), surge=chance.randrange(1, 4), unavailable=1,
        nodeCache=chance.choice(["/var/lib/models", "pvc://cache"]),
    )  # fmt: skip
    gateway = some(
        replicas=3, rest=80, grpc=9000, service="LoadBalancer", serviceAnnotations={"example.org/lb": "internal"},
        tls="certificate", timeoutSeconds=chance.choice([0.1, 86400]), perTryTimeoutSeconds=0, maxRequestBytes=1048576,
        resources=some(cpu=chance.choice([1, "250m"]), memory=chance.choice(["1.5G", "100M", "777Mi", 2000000000])),
    )  # fmt: skip
    models = {
        f"m{index}": chance.choice(
            [{}, STAMPS, {"version": chance.randrange(1, 2**53)}, {"version": 7, "labels": {"s": 7}}]
        )
        for index in range(chance.randrange(1, 6))
    }
    more = some(
        namespace="shop-prod", imageRegistry="registry.example:5000/m", imagePullSecrets=["pull"],
        agent={"image": "a/b:1"},
        monitoring={"podMonitor": True, **some(alerts=True, dashboard=True, namespace="observability")},
    )  # fmt: skip
    return {
        **HEAD,
        "store": store,
        **fetched,
        "serving": serving | pods(),
        "gateway": gateway | pods(),
        "models": models,
        **more,
    }


REFUSED = [
    ({"store": "file:///srv/models"}, "store: pods cannot reach"),
    ({"store": "s3://models", "storeOptions": {"caFile": "/etc/ca.pem"}}, "storeOptions.caFile"),
    ({"serving": {"minAvailable": 3}}, "serving.minAvailable"),
    ({"serving": {"surge": 0}}, "serving.surge"),
    ({"serving": {"autoscale": {"min": 1, "max": 2}}}, "serving.autoscale"),
    ({"gateway": {"rest": 80, "grpc": 80}}, "gateway"),
    ({"monitoring": {"alerts": True}}, "monitoring.alerts"),
    ({"models": {"m": {"labels": {"a": 1}}}}, "models.m"),
    ({"models": {"m": {"version": 1, "labels": {"a": 2}}}}, "models.m.labels.a"),
    ({"models": {"m": {"version": 1, "canary": {"version": 1, "weight": 5}}}}, "models.m.canary"),
    ({"models": {"m": {"version": 0}}}, "/models/m/version"),
    ({"storeOptions": {"region": "eu"}}, "storeOptions.region: not for a pvc:// store"),
    ({"store": "gs://models", "storeOptions": {"pathStyle": True}}, "only for s3://"),
    ({"store": "s3://models", "storeOptions": {"anonymous": True, "credentialsSecret": "a"}}, "storeOptions.anonymous"),
    ({"store": "pvc://models/../other"}, "a path with .. leaves the store"),
    ({"store": "file://./models", "serving": {"volume": "inline"}}, "an absolute path"),
    ({"imageRegistry": "team"}, "imageRegistry: found team"),
    ({"serving": {"resources": {"memory": 4}}}, "/serving/resources/memory"),
    ({"serving": {"disk": "2048Ti"}}, "serving.disk: found 2048Ti"),
    ({"serving": {"resources": {"memory": "1023Ki"}}}, "serving.resources.memory: found 1023Ki"),
    ({"gateway": {"resources": {"memory": "0.9M"}}}, "gateway.resources.memory: found 0.9M"),
    ({"agent": {"resources": {"memory": "63Mi"}}}, "from 64Mi to 1Pi"),
    ({"serving": {"labels": {"tfsdeploy/fleet": "other"}}}, "invalid propertyName 'tfsdeploy/fleet'"),
    ({"gateway": {"annotations": {"pod-template-hash": "x"}}}, "invalid propertyName 'pod-template-hash'"),
    # What a file says nothing of behind its key, Helm takes away with its default.
    ({"serving": None}, "missing property 'serving'"),
    ({"serving": {"keep": None}}, "missing property 'keep'"),
    ({"agent": {"resources": {"cpu": None}}}, "missing property 'cpu'"),
    ({"servng": {}}, "servng"),
    ({"name": "No Label"}, "/name"),
]


@pytest.mark.parametrize(("more", "where"), REFUSED)
def test_what_validate_refuses_the_chart_refuses(more: dict[str, Any], where: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(json.dumps({**HEAD, "models": {"m": {}}} | more))
    with pytest.raises(TfsdeployError):
        kubernetes_artefacts(load_fleet(file))
    made = run("template", "any", CHART, "-f", file)
    assert made.returncode != 0
    assert where in made.stderr


@pytest.mark.parametrize("name", NAMES)
def test_lint_finds_nothing(name: str) -> None:
    found = run("lint", "--strict", CHART, "-f", fleet_file(name))
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in found.stdout


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({"models": {"b": {"version": 2}, "a": {"version": 1}, "free": {}}}, ["http://shop-gateway:80", "a", "b"]),
        ({"models": {"free": {}}}, None),
        ({"models": {"a": {"version": 1}}, "gateway": {"tls": "certificate"}}, None),
    ],
)
def test_what_helm_test_asks(more: dict[str, Any], asked: list[str] | None, tmp_path: Path) -> None:
    """Every pinned model, in the fleet's namespace and as its pods are; not what only clients can trust."""
    file = tmp_path / "fleet.yaml"
    file.write_text(json.dumps({**HEAD, "namespace": "prod", "gateway": {"rest": 80}, **more}))
    made = run("template", "any", CHART, "-f", file)
    assert made.returncode == 0, made.stderr
    pods = [found for found in yaml.safe_load_all(made.stdout) if found and found["kind"] == "Pod"]
    assert [pod["spec"]["containers"][0]["args"][1:] for pod in pods] == ([] if asked is None else [asked])
    for pod in pods:
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert pod["metadata"]["namespace"] == "prod"
        assert INVENTORY_LABEL not in pod["metadata"]["labels"]

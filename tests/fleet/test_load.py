"""Loading a fleet file: what a valid one becomes, and how exactly an invalid one is turned down."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.keys import write_key
from tfsdeploy.errors import InvalidFile
from tfsdeploy.fleet.load import load_fleet, parse_fleet
from tfsdeploy.fleet.model import Autoscale, Batching, Canary, Monitoring, Share, Toleration, to_plain
from tfsdeploy.fleet.nodes import MAX_PROBLEMS
from tfsdeploy.fleet.pins import canonical_json

HOSTILE = Path(__file__).parent / "hostile"
EXPECTED: dict[str, list[str]] = json.loads((HOSTILE / "expected.json").read_text())
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
HEAD = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: file://./models\n"


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    fleet = parse_fleet(HEAD + "models: {half_plus_two: {}}\n", str(tmp_path / "fleet.yaml"))
    assert (fleet.name, fleet.target, fleet.file) == ("shop", "local", tmp_path / "fleet.yaml")
    assert fleet.store.url == f"file://{tmp_path}/models"
    serving, gateway = fleet.serving, fleet.gateway
    assert (serving.replicas, serving.min_available, serving.keep, serving.server) == (1, 1, 1, "embedded")
    assert (serving.batching, dict(serving.flags)) == (None, {})
    assert (gateway.replicas, gateway.rest, gateway.grpc, gateway.address) == (1, 8501, 8500, "127.0.0.1")
    assert fleet.models["half_plus_two"].version is None
    assert fleet.pins().models == {}


def test_everything_that_is_written_arrives(tmp_path: Path) -> None:
    fleet = parse_fleet(
        HEAD.replace("file://./models", "s3://models/prod/")
        + """target: kubernetes
storeOptions: {endpoint: https://s3.example.org:9000, region: eu-central-1, credentialsSecret: s3, pathStyle: true,
  caFile: /etc/ssl/store-ca.pem, caConfigMap: store-ca, bandwidth: 100Mi}
serving:
  replicas: 5
  server: ./bin/tensorflow_model_server
  resources: {cpu: 500m, memory: "4Gi", gpu: 1}
  batching: {maxBatchSize: 32}
  flags: {grpc_max_threads: 128, enable_profiler: false, per_process_gpu_memory_fraction: 0.5, saved_model_tags: serve}
  drainSeconds: 0.5
models:
  ranker:
    version: 7
    canary: {version: 8, weight: 10}
    labels: {stable: 7, next: 8}
    example: requests/ranker.json
""",
        str(tmp_path / "fleet.yaml"),
    )
    assert (fleet.target, fleet.store.url, fleet.store.scheme) == ("kubernetes", "s3://models/prod", "s3")
    assert to_plain(fleet.store.options) == {
        "endpoint": "https://s3.example.org:9000",
        "region": "eu-central-1",
        "bandwidth": "100Mi",
        "credentials_secret": "s3",
        "path_style": True,
        "ca_file": "/etc/ssl/store-ca.pem",
        "ca_config_map": "store-ca",
        "anonymous": False,
        "conditional_writes": True,
        "require_signature": [],
    }
    assert fleet.serving.min_available == 3, "half of 5, rounded up"
    assert fleet.serving.server == str(tmp_path / "bin/tensorflow_model_server")
    assert (fleet.serving.resources.cpu, fleet.serving.resources.memory) == ("500m", "4Gi")
    assert fleet.serving.batching == Batching(32, None, None, None)
    assert fleet.serving.flags == {
        "grpc_max_threads": 128,
        "enable_profiler": False,
        "per_process_gpu_memory_fraction": 0.5,
        "saved_model_tags": "serve",
    }
    ranker = fleet.models["ranker"]
    assert (ranker.version, ranker.canary, ranker.labels) == (7, Canary(8, 10), {"stable": 7, "next": 8})
    assert ranker.example == tmp_path / "requests/ranker.json"


def test_what_kubernetes_reads_arrives() -> None:
    fleet = parse_fleet(
        HEAD
        + """namespace: shop
imageRegistry: registry.example:5000/mirror
imagePullSecrets: [pull, other-pull]
agent: {resources: {memory: 512Mi}}
monitoring: {podMonitor: true, alerts: true}
serving:
  autoscale: {min: 3, max: 8}
  resources: {cpu: 2}
  surge: 0
  unavailable: 1
  tolerations: [{key: nvidia.com/gpu, effect: NoSchedule}, {key: pool, value: "7"}]
  labels: {example.org/team: "20240101"}
models: {m: {}}
""",
        "fleet.yaml",
    )
    assert (fleet.namespace, fleet.image_registry) == ("shop", "registry.example:5000/mirror")
    assert fleet.image_pull_secrets == ("pull", "other-pull")
    assert fleet.agent.resources == Share("50m", "512Mi")
    assert fleet.monitoring == Monitoring("monitoring", pod_monitor=True, alerts=True, dashboard=False)
    assert (fleet.serving.replicas, fleet.serving.min_available) == (3, 2), "the least of autoscale counts"
    assert fleet.serving.autoscale == Autoscale(3, 8, 70)
    assert fleet.serving.tolerations == (
        Toleration("nvidia.com/gpu", None, "NoSchedule"),
        Toleration("pool", "7", None),
    )
    assert (fleet.serving.labels, fleet.gateway.labels) == ({"example.org/team": "20240101"}, {})
    assert json.loads(canonical_json(to_plain(fleet))) == to_plain(fleet)


@pytest.mark.parametrize(("replicas", "enough"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_half_of_the_replicas_rounded_up_are_enough(replicas: int, enough: int) -> None:
    fleet = parse_fleet(HEAD + f"serving: {{replicas: {replicas}}}\nmodels: {{m: {{}}}}\n", "fleet.yaml")
    assert fleet.serving.min_available == enough


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_are_valid_and_plain(file: Path) -> None:
    plain = to_plain(load_fleet(file))
    assert json.loads(canonical_json(plain)) == plain


@pytest.mark.parametrize("name", EXPECTED)
def test_hostile_file_is_turned_down_with_every_position(name: str) -> None:
    file = HOSTILE / f"{name}.yaml"
    with pytest.raises(InvalidFile) as caught:
        load_fleet(file)
    lines = [line.removeprefix(f"{file}:") for line in str(caught.value).splitlines()]
    expected = EXPECTED[name]
    for beginning in expected:
        assert beginning == "..." or any(found(line, beginning) for line in lines), (
            f"{beginning}\nnot in\n" + "\n".join(lines)
        )
    assert "..." in expected or len(lines) == len(expected), "\n".join(lines)
    assert caught.value.exit_code == 2


def found(line: str, beginning: str) -> bool:
    return line.startswith(beginning) if beginning[0].isdigit() else beginning in line


def test_every_hostile_file_has_its_expectation() -> None:
    assert {file.stem for file in HOSTILE.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("secret")])
def test_a_secret_is_not_repeated(name: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        load_fleet(HOSTILE / f"{name}.yaml")
    assert "hunter2" not in str(caught.value).lower()
    assert "akiaexample" not in str(caught.value).lower()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "# " + "x" * (10 << 20), "larger than 1048576 bytes"),
        ("[" * 500_000, "nested more than 16"),
        ("{" * 500_000, "nested more than 16"),
        ("- " * 500_000, "nested more than 16"),
        ("a: &a " + "[" * 10 + "*a," * 100_000, "the alias *a"),
        ("'" * 1_000_001, "not YAML"),
        ("\n".join(f"k{i}: v" for i in range(80_000)), f"that is problem {MAX_PROBLEMS}"),
        (
            HEAD + "models:\n" + "\n".join(f"  m{i}: {{version: x}}" for i in range(30_000)),
            f"that is problem {MAX_PROBLEMS}",
        ),
        ("x" * 1_000_000 + ": y", "not YAML"),
        ("? " + "x" * 1_000_000 + "\n: y", "unknown key"),
        ("\x00" * 1_000_000, "U+0000"),
        (HEAD + "models: {m: {version: " + "9" * 900_000 + "}}", "write an integer from 1"),
        (HEAD + "models: {m: {version: 1" + "_1" * 400_000 + "}}", "write an integer from 1"),
        (HEAD.replace("shop", "1" + ":0" * 400_000) + "models: {m: {}}", "write a DNS label"),
        (HEAD.replace("shop", "a-" * 400_000) + "models: {m: {}}", "write a DNS label"),
        (HEAD + "serving: {image: " + "a." * 400_000 + "!}\nmodels: {m: {}}", "write an image"),
        (HEAD + "serving: {image: a/" + "a_" * 400_000 + "!}\nmodels: {m: {}}", "write an image"),
        (HEAD.replace("file://./models", "s3://abc" + "/a" * 400_000 + "!") + "models: {m: {}}", "not a s3:// address"),
        (HEAD.replace("shop", "\ud800"), "U+D800"),
    ],
    ids=range(19),
)
@pytest.mark.timeout(20)
def test_a_huge_file_is_turned_down_soon_and_in_few_words(text: str, says: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        parse_fleet(text, "fleet.yaml")
    assert says in str(caught.value)
    assert len(str(caught.value)) < 40_000


def test_many_models_are_fine() -> None:
    fleet = parse_fleet(
        HEAD + "models:\n" + "\n".join(f"  m{i}: {{version: {i + 1}}}" for i in range(5000)), "fleet.yaml"
    )
    assert len(fleet.pins().models) == 5000


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (2 << 20))
    for name, says in (
        ("missing", "there is no such file"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("large", "larger than"),
        ("a\0b", "no such file"),
        ("x" * 300, "cannot be read: File name too long"),
    ):
        with pytest.raises(InvalidFile, match=says):
            load_fleet(tmp_path / name)


def test_public_keys_are_read_from_their_files(tmp_path: Path) -> None:
    _, key = write_key(tmp_path, "release")
    text = HEAD + "models: {m: {}}\nstoreOptions: {requireSignature: ["
    fleet = parse_fleet(
        f"{text}release.pub.pem, {tmp_path}/release.pub.pem, '{key}']}}\n", str(tmp_path / "fleet.yaml")
    )
    assert fleet.store.options.require_signature == (key, key, key)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("[]", "found no key"),
        ("[nowhere.pem]", "cannot be read"),
        ("[release.pem]", "this is a private key"),
        ("[fleet.yaml, nowhere.pem]", "no public ed25519 key in PEM form"),
        ("['ed25519:short']", "no public ed25519 key"),
        ("release.pub.pem", "write a list"),
        ("[7, true]", "write ed25519:BASE64 or the path"),
    ],
)
def test_what_is_no_public_key(tmp_path: Path, keys: str, words: str) -> None:
    write_key(tmp_path, "release")
    (tmp_path / "fleet.yaml").write_text(f"{HEAD}models: {{m: {{}}}}\nstoreOptions: {{requireSignature: {keys}}}\n")
    with pytest.raises(InvalidFile) as refused:
        load_fleet(tmp_path / "fleet.yaml")
    assert any(words in problem.message for problem in refused.value.problems), refused.value
    assert all(problem.line == 6 for problem in refused.value.problems)

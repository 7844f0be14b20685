"""A fleet in the cluster, end to end: agents that follow ConfigMaps and EndpointSlices, real servers, real Envoys."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import manifests
from tests.cluster.manifests import FLEET
from tests.cluster.namespace import Namespace
from tests.cluster.volume import claim_of
from tfsdeploy.agent.kubernetes.account import Account
from tfsdeploy.agent.kubernetes.configmaps import AccountConfigMaps
from tfsdeploy.agent.kubernetes.endpoints import agents
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.protocol.agents import GatewayStatus, decode_gateway
from tfsdeploy.release.configmap import ReleaseConfigMaps
from tfsdeploy.release.model import ModelRelease
from tfsdeploy.release.update import Author, change_model
from tfsdeploy.store.example import write_example
from tfsdeploy.store.store import FileStore

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

MODEL = "half_plus_two"
ANN = Author("ann@desk", "test")
START_SECONDS = 180.0
ONE = Pins({MODEL: Pin(1)})
PODS = {"serving": 2, "gateway": 1}


@dataclass
class Shop:
    """A fleet that runs; version N answers N for 0."""

    namespace: Namespace
    store: FileStore
    releases: ReleaseConfigMaps

    def publish(self, version: int, folder: Path) -> None:
        """Publish a version."""
        write_example(folder / str(version), float(version))
        self.store.publish(MODEL, folder / str(version), version)

    def address(self) -> str:
        """The gateway's Service."""
        (found,) = self.namespace.get("services", "--field-selector", f"metadata.name={FLEET}-gateway")
        return f"http://{found['spec']['clusterIP']}:8501"

    def answer(self, address: str, version: str = "") -> Any:
        """One answer of the gateway; words if it is none."""
        code, found = self.namespace.ask(f"{address}/v1/models/{MODEL}{version}:predict", {"instances": [0.0]})
        return found["predictions"][0] if code == 200 else f"{code}: {found}"

    def gateways(self) -> dict[str, GatewayStatus]:
        """What every gateway says."""
        slices = self.namespace.get("endpointslices", "-l", f"kubernetes.io/service-name={FLEET}-gateways")
        found = {name: self.namespace.ask(f"{url}/v1/status") for name, url in agents(slices).items()}
        return {name: decode_gateway(json.dumps(body).encode()) for name, (code, body) in found.items() if code == 200}

    def move(self, version: int) -> ModelRelease:
        """Give a version all the traffic, as a promote does in the end: loaded already or not."""

        def moved(model: ModelRelease) -> ModelRelease:
            versions = {**model.versions, version: None}
            return replace(model, versions=versions, traffic={version: 100}, from_=model.traffic, main=version)

        return change_model(self.releases, MODEL, moved, ANN).models[MODEL]

    def until_effective(self, version: int, seconds: float = 180.0) -> None:
        """Wait until every gateway gives a version all the traffic of the present generation."""

        def effective() -> bool:
            present, found = self.releases.read(), self.gateways()
            assert present is not None
            return bool(found) and all(
                status.generation >= present.generation
                and status.models[MODEL].traffic == {version: 100}
                and not status.models[MODEL].waiting_for
                for status in found.values()
            )

        self.namespace.wait(f"version {version} at every gateway", effective, seconds)

    @contextmanager
    def asked(self, allowed: set[float]) -> Iterator[Counter[Any]]:
        """Ask all the time while the block runs, once nodes know the gateway; every answer must be one of these."""
        address, seen, enough = self.address(), Counter[Any](), threading.Event()
        self.namespace.wait("an answer", lambda: self.answer(address) in allowed)

        def ask() -> None:
            while not enough.is_set():
                seen[self.answer(address)] += 1

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            enough.set()
            for thread in threads:
                thread.join()
        assert seen
        assert set(seen) <= allowed, seen


@pytest.fixture
def shop(namespace: Namespace, account: Account, tmp_path: Path) -> Iterator[Shop]:
    """Two replicas and a gateway, made by what GitOps would apply: objects, and the Job that waits for the pins."""
    folder = tmp_path / "store"
    folder.mkdir()
    releases = ReleaseConfigMaps(AccountConfigMaps(account), FLEET, patience=30.0)
    made = Shop(namespace, FileStore(folder), releases)
    made.publish(1, tmp_path)
    with claim_of(namespace, "models", folder):
        namespace.apply(*manifests.fleet(ONE), manifests.job(ONE))
        yield made


def finished(namespace: Namespace, pins: Pins) -> tuple[str, str, int]:
    """How the Job of some pins ended: its condition, what it said, its exit code."""
    name = manifests.job(pins)["metadata"]["name"]

    def ended() -> str:
        (job,) = namespace.get("jobs", "--field-selector", f"metadata.name={name}")
        conditions = job.get("status", {}).get("conditions", [])
        return next((one["type"] for one in conditions if one["type"] in ("Complete", "Failed")), "")

    how = namespace.wait(f"the end of job {name}", ended, START_SECONDS)
    (pod,) = namespace.get("pods", "-l", f"job-name={name}")
    code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
    return how, namespace.kubectl("logs", f"job/{name}"), code


def test_a_fleet_follows_its_release_whatever_happens_to_the_api_server(shop: Shop, tmp_path: Path) -> None:
    namespace = shop.namespace
    how, said, _ = finished(namespace, ONE)
    assert how == "Complete", said
    assert "effective at every gateway" in said
    address = shop.address()
    shop.publish(2, tmp_path)

    with shop.asked({1.0, 2.0}) as seen:
        assert shop.answer(address) == 1.0
        shop.move(2)
        shop.until_effective(2)
        assert shop.answer(address) == 2.0
        assert shop.answer(address, "/versions/1") == 1.0

        milliseconds = sorted(1000 * measured(shop, version) for version in (1, 2) * 5)
        print(f"written to effective: median {milliseconds[5]:.0f} ms, worst {milliseconds[-1]:.0f} ms")

        namespace.cluster.kill_api_server()
        before = seen.total()
        namespace.wait("answers without the API server", lambda: seen.total() > before + 100)
        namespace.cluster.start_api_server()
        shop.move(1)
        shop.until_effective(1)

        nonsense = '{"data": {"release.json": "{"}}'
        namespace.kubectl("patch", "configmap", f"{FLEET}-release", "--type=merge", "-p", nonsense)
        for component in ("serving", "gateway"):
            namespace.wait(f"the {component} agents say so", lambda c=component: unfollowed(namespace, c))
        assert shop.answer(address) == 1.0
        assert all(status.ready for status in shop.gateways().values())
    assert set(seen) == {1.0, 2.0}
    assert forbidden(namespace) == []
    print(f"{seen.total()} requests, none failed")


def measured(shop: Shop, version: int) -> float:
    """Seconds from the ConfigMap written to the version effective at the gateway."""
    slices = shop.namespace.get("endpointslices", "-l", f"kubernetes.io/service-name={FLEET}-gateways")
    (url,) = agents(slices).values()
    shop.move(version)
    began = time.monotonic()

    def effective() -> bool:
        _, body = shop.namespace.ask(f"{url}/v1/status")
        return bool(body["models"][MODEL]["traffic"] == {str(version): 100})

    shop.namespace.wait("the switch", effective)
    return time.monotonic() - began


def unfollowed(namespace: Namespace, component: str) -> bool:
    """Whether all agents of a kind have refused the present release."""
    logs = [namespace.kubectl("logs", pod, "-c", "agent") for pod in pods(namespace, component)]
    return all("the last good one stays" in log for log in logs)


def test_a_commit_whose_version_fails_is_refused_and_its_revert_is_done(shop: Shop) -> None:
    """GitOps: pins, and a Job a commit."""
    namespace = shop.namespace
    assert finished(namespace, ONE)[0] == "Complete"
    nine = Pins({MODEL: Pin(9)})
    with shop.asked({1.0}):
        namespace.apply(manifests.pins(nine), manifests.job(nine))
        how, said, code = finished(namespace, nine)
        assert (how, code) == ("Failed", 4), said
        assert "FAILED" in said
        assert "9" in said
        namespace.kubectl("delete", "job", manifests.job(ONE)["metadata"]["name"])
        namespace.apply(manifests.pins(ONE), manifests.job(ONE))
        assert finished(namespace, ONE)[0] == "Complete"


def test_pods_leave_without_a_failed_request(shop: Shop) -> None:
    """Rolling both deployments, and a container that restarts: planned, so nobody notices."""
    namespace = shop.namespace
    assert finished(namespace, ONE)[0] == "Complete"
    with shop.asked({1.0}) as seen:
        for component in ("serving", "gateway"):
            namespace.kubectl("rollout", "restart", f"deployment/{FLEET}-{component}")
            namespace.kubectl("rollout", "status", f"deployment/{FLEET}-{component}", "--timeout=240s")
            namespace.wait("the old pods' end", lambda c=component: len(pods(namespace, c)) == PODS[c], 120.0)
    print(f"{seen.total()} requests, none failed")


def forbidden(namespace: Namespace) -> list[str]:
    """What service accounts asked for and were never allowed.

    An API server that has just started refuses what it will allow once it has read the roles: one refusal says nothing.
    """
    lines = (namespace.cluster.folder / "audit.log").read_text().splitlines()
    events = [json.loads(line) for line in lines if namespace.name in line]
    codes: defaultdict[str, set[int]] = defaultdict(set)
    for event in events:
        asked = event["verb"] + " " + event["requestURI"].partition("&resourceVersion")[0]
        codes[asked].add(event["responseStatus"].get("code"))
    return sorted(asked for asked, seen in codes.items() if 403 in seen and 200 not in seen)


def pods(namespace: Namespace, component: str) -> list[str]:
    """The pods of a component, those that end included."""
    return [pod["metadata"]["name"] for pod in namespace.get("pods", "-l", f"app.kubernetes.io/component={component}")]

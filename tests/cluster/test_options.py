"""What a fleet file may ask for beyond the usual: certificates, and replicas as their load asks for."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster.live import ClusterFleet, M

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PEM = Path(__file__).parents[1] / "cases" / "server" / "tls"


RENEWED = {"tls.crt": "crt", "tls.key": "key"}
"""Key of the Secret -> ending of a file in `PEM`."""


def asked(fleet: ClusterFleet, url: str, *words: str) -> str:
    """What curl says from a node, which is none of the fleet's pods."""
    argv = ["curl", "--silent", "--show-error", "--max-time", "5", *words, f"{url}/v1/models/{M}:predict"]
    inside = fleet.namespace.cluster.machine(1).inside(*argv, "--data", '{"instances": [1]}')
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    return done.stdout.replace("\n", " ") + done.stderr


def test_an_autoscaler_takes_the_replicas_as_they_are_and_gives_them_back(fleet: ClusterFleet) -> None:
    def scale(**serving: object) -> int:
        for key in ("replicas", "autoscale"):
            fleet.spec["serving"].pop(key, None)
        fleet.spec["serving"] |= serving
        fleet.up()
        assert fleet.run("diff", code=None).out.endswith("says\n")
        return int(
            fleet.namespace.get("deployments", "--field-selector=metadata.name=shop-serving")[0]["spec"]["replicas"]
        )

    fleet.spec["serving"]["resources"] = {"cpu": "50m"}
    assert scale(replicas=2) == 2
    with fleet.stream({M: {1}}) as requests:
        # No metrics are kept here, so it leaves the number alone; a number that nobody had would fall back to 1.
        assert scale(autoscale={"min": 2, "max": 4}) == 2
        fleet.namespace.kubectl("scale", "deployment/shop-serving", "--replicas=3")
        assert scale(autoscale={"min": 2, "max": 5}) == 3
        assert scale(replicas=2) == 2
        assert fleet.namespace.get("horizontalpodautoscalers") == []
        assert scale(replicas=1) == 1
    requests.check()


def test_tls_outside_and_commands_inside(fleet: ClusterFleet) -> None:
    """Clients see the certificate, and a renewed one without a restart; commands come in without it."""
    secret = (f"--cert={PEM / 'server.crt'}", f"--key={PEM / 'server.key'}")
    fleet.namespace.kubectl("create", "secret", "tls", "shop-certificate", *secret)
    fleet.spec["serving"]["replicas"] = fleet.spec["gateway"]["replicas"] = 1
    fleet.spec["gateway"]["tls"] = "shop-certificate"
    fleet.up()
    (service,) = fleet.namespace.get("services", "--field-selector", "metadata.name=shop-gateway")
    address = f"{service['spec']['clusterIP']}:8501"
    trusted = ("--cacert", str(PEM / "ca.crt"), "--connect-to", f"localhost:8501:{address}")
    # Gateways that leave still speak plainly while they drain, and a node hears in its own time that they are gone.
    leaving = ("-l", "app.kubernetes.io/component=gateway")
    fleet.namespace.wait("the end of the plain gateways", lambda: len(fleet.namespace.get("pods", *leaving)) == 1)
    fleet.namespace.wait("an answer", lambda: '"predictions": [1' in asked(fleet, "https://localhost:8501", *trusted))
    fleet.namespace.wait(
        "no plain answer", lambda: asked(fleet, f"http://{address}").startswith(("curl: (56)", "curl: (52)"))
    )
    for protocol in ((), ("--grpc",)):
        answered = fleet.run("predict", M, "--example", *protocol, "-o", "json").document["answer"]
        assert answered.get("predictions") or answered["outputs"]
    assert fleet.run("promote", M, "2", "--probe", "20", "-o", "json").document["probe"]["failed"] == 0
    assert "TLS" in fleet.run("bench", M, "--duration", "1s", code=1).err
    before = fleet.pods("gateway")
    renewed = {key: base64.b64encode((PEM / f"client.{end}").read_bytes()).decode() for key, end in RENEWED.items()}
    fleet.namespace.kubectl("patch", "secret", "shop-certificate", "-p", json.dumps({"data": renewed}))
    (_, *lines, _) = (PEM / "client.crt").read_text().splitlines()
    shown = (*trusted, "--write-out", "%{certs}")
    fleet.namespace.wait(
        "the renewed certificate", lambda: all(line in asked(fleet, "https://localhost:8501", *shown) for line in lines)
    )
    assert fleet.pods("gateway") == before
    assert f"https://shop-gateway.{fleet.namespace.name}:8501" in fleet.run("status").out

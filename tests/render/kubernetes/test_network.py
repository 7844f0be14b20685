"""Who may reach what: the rendered NetworkPolicies, judged as Kubernetes judges them, from every side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.render.kubernetes.goldens import NAMES, objects
from tfsdeploy.render.containers import AGENT_PORT, GRPC_PORT, REST_PORT

PORTS = (REST_PORT, GRPC_PORT, AGENT_PORT)
CLIENTS = {REST_PORT, GRPC_PORT}

ALLOWED = {
    ("gateway", "serving"): set(PORTS),
    ("gateway", "gateway"): CLIENTS,
    ("pins", "serving"): set(),
    ("pins", "gateway"): set(PORTS),
    ("stranger", "serving"): set(),
    ("stranger", "gateway"): CLIENTS,
    ("monitoring", "serving"): {AGENT_PORT},
    ("monitoring", "gateway"): {AGENT_PORT, *CLIENTS},
    ("namesake", "serving"): set(),
    ("namesake", "gateway"): CLIENTS,
}
"""Who, to whom -> the ports."""


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert selector.keys() == {"matchLabels"}, "an empty selector means everybody"
    return selector["matchLabels"].items() <= labels.items()


def is_let_in(rule: Mapping[str, Any], pod: Mapping[str, str], namespace: Mapping[str, str], own: str) -> bool:
    """Whether one rule lets a pod in, whatever the port (kubernetes.io/docs/concepts/services-networking)."""
    if not rule.get("from"):
        return True
    for peer in rule["from"]:
        there = (
            matches(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else own == namespace["name"]
        )
        if there and ("podSelector" not in peer or matches(peer["podSelector"], pod)):
            return True
    return False


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("sides", "ports"), ALLOWED.items(), ids=["-".join(sides) for sides in ALLOWED])
def test_ports(name: str, sides: tuple[str, str], ports: set[int]) -> None:
    who, whom = sides
    made = objects(name)
    (deployment,) = (
        item for item in made if item["kind"] == "Deployment" and item["metadata"]["name"].endswith(f"-{whom}")
    )
    labels, own = deployment["spec"]["template"]["metadata"]["labels"], deployment["metadata"]["namespace"]
    sender = {**labels, "app.kubernetes.io/component": who}
    namespace = {"name": own}
    if who in ("stranger", "monitoring"):
        sender = {"app": who}
    if who == "namesake":
        sender, namespace = {**labels, "app.kubernetes.io/component": "gateway"}, {"name": "elsewhere"}
    if who == "monitoring":
        named = "observability" if name == "everything" else "monitoring"
        namespace = {"name": named, "kubernetes.io/metadata.name": named}
    rules = [
        rule
        for policy in made
        if policy["kind"] == "NetworkPolicy" and matches(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"]["ingress"]
    ]
    assert rules, "without a policy everybody is let in"
    open_ = {port["port"] for rule in rules if is_let_in(rule, sender, namespace, own) for port in rule["ports"]}
    assert open_ == ports

"""Who is behind a headless Service, from slices as the API server has them."""

from __future__ import annotations

from typing import Any

from tfsdeploy.agent.kubernetes.endpoints import agents


def endpoint(pod: str, address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}}


def piece(*endpoints: dict[str, Any], family: str = "IPv4", port: str = "agent") -> dict[str, Any]:
    return {"addressType": family, "ports": [{"name": port, "port": 8502}], "endpoints": list(endpoints)}


def test_several_slices_ready_and_not_ready_and_terminating() -> None:
    slices = [
        piece(endpoint("b", "10.0.0.2", ready=False)),
        piece(endpoint("a", "10.0.0.1", ready=True), endpoint("c", "10.0.0.3", ready=False, terminating=True)),
    ]
    found = agents(slices)
    assert found == {"a": "http://10.0.0.1:8502", "b": "http://10.0.0.2:8502", "c": "http://10.0.0.3:8502"}
    assert agents(slices, leaving=False) == {pod: url for pod, url in found.items() if pod != "c"}


def test_two_address_families_are_one_pod() -> None:
    six, four = piece(endpoint("a", "fd00::1"), family="IPv6"), piece(endpoint("a", "10.0.0.1"))
    assert agents([six, four]) == agents([four, six]) == {"a": "http://10.0.0.1:8502"}
    assert agents([six]) == {"a": "http://[fd00::1]:8502"}


def test_what_is_no_agent_is_nobody() -> None:
    nobody = [
        {"addressType": "IPv4", "ports": None, "endpoints": None},
        piece(endpoint("a", "10.0.0.1"), port="metrics"),
        piece(endpoint("a", "host.example"), family="FQDN"),
        piece({"addresses": ["10.0.0.1"]}, {"addresses": [], "targetRef": {"kind": "Pod", "name": "a"}}),
        piece({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Node", "name": "a"}}),
    ]
    assert agents(nobody) == {}

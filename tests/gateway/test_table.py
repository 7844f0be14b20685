"""The table itself: order, text, and bad text; and finding Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.gateway.admin import acknowledged, drained
from tfsdeploy.gateway.clusters import clusters
from tfsdeploy.gateway.files import File
from tfsdeploy.gateway.shape import GatewayShape, envoy_binary, envoy_command
from tfsdeploy.gateway.table import Endpoint, ModelTable, Table

A, B = Endpoint("a", "127.0.0.1:1", "127.0.0.1:2"), Endpoint("b", "127.0.0.1:3", "127.0.0.1:4")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": []}', '{"models": {"m": {}}}', '{"models": {"m": 7}}'])
def test_nonsense_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Table.from_json(text)


@pytest.mark.parametrize(
    ("traffic", "versions", "weights"),
    [
        ({7: 100}, {7: (A,)}, {7: 100}),
        ({7: 90, 8: 10}, {7: (A,), 8: ()}, {7: 90}),
        ({7: 90, 8: 10}, {7: (), 8: ()}, {7: 90, 8: 10}),
        ({7: 90, 8: 10}, {7: (A,)}, {7: 90}),
        ({7: 100}, {}, {}),
        ({}, {7: (A,)}, {}),
        ({7: 100, 8: 0}, {7: (), 8: (A,)}, {7: 100}),
    ],
)
def test_weights(traffic: dict[int, int], versions: dict[int, tuple[Endpoint, ...]], weights: dict[int, int]) -> None:
    assert ModelTable(traffic, {}, versions).weights() == weights


@pytest.mark.parametrize("address", ["", "localhost", ":8500", "x:0", "x:65536", "x:http"])
def test_an_address_must_be_host_and_port(address: str) -> None:
    table = Table({"m": ModelTable({7: 100}, {}, {7: (Endpoint("a", address, address),)})})
    with pytest.raises(TfsdeployError, match="address"):
        clusters(table, GatewayShape())


@pytest.mark.parametrize(
    ("address", "kind"), [("10.0.0.1:80", "STATIC"), ("[::1]:80", "STATIC"), ("replica-1:80", "STRICT_DNS")]
)
def test_names_are_resolved(address: str, kind: str) -> None:
    table = Table({"m": ModelTable({7: 100}, {}, {7: (Endpoint("a", address, address),)})})
    assert {cluster["type"] for cluster in clusters(table, GatewayShape())} == {kind}


def test_acknowledgements() -> None:
    files = [File("cds.json", "", "one"), File("rds-rest.json", "", "two")]
    statistics = 'cluster_manager.cds.version_text: "one"\nhttp.rest.rds.rest.version_text: "two"\n'
    assert acknowledged(statistics, files)
    assert not acknowledged(statistics.replace("two", "old"), files)
    assert not acknowledged("", files)


def test_drained() -> None:
    closed = "listener_manager.listener_stopped: 2\n"
    assert drained(closed + "http.rest.downstream_rq_active: 0\nhttp.grpc.downstream_rq_active: 0\n")
    assert not drained(closed + "http.rest.downstream_rq_active: 0\nhttp.grpc.downstream_rq_active: 1\n")
    assert not drained("listener_manager.listener_stopped: 0\nhttp.rest.downstream_rq_active: 0\n")


def test_envoy_is_found_in_the_package_or_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert envoy_command(GatewayShape())[0] == str(envoy_binary())
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.modules", {})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TfsdeployError, match="Envoy is not installed"):
        envoy_binary()
    (tmp_path / "envoy").write_text("#!/bin/sh\n")
    (tmp_path / "envoy").chmod(0o755)
    assert envoy_binary() == tmp_path / "envoy"

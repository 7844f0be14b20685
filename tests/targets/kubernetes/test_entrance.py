"""Where clients find the gateways."""

from __future__ import annotations

from typing import Any

import pytest

from tfsdeploy.targets.kubernetes.entrance import addresses_of


@pytest.mark.parametrize(
    ("balanced", "host"),
    [
        (None, "shop-gateway.prod"),
        ([], "shop-gateway.prod"),
        ([{"ip": "203.0.113.7"}], "203.0.113.7"),
        ([{"ip": "2001:db8::7"}], "[2001:db8::7]"),
        ([{"hostname": "lb.example.org"}], "lb.example.org"),
    ],
)
def test_addresses(balanced: object, host: str) -> None:
    ports = [{"name": "rest", "port": 80}, {"name": "grpc", "port": 9000}]
    service: dict[str, Any] = {
        "metadata": {"name": "shop-gateway", "namespace": "prod"},
        "spec": {"ports": ports},
        "status": {"loadBalancer": {} if balanced is None else {"ingress": balanced}},
    }
    assert addresses_of(service, speaks_tls=False) == (f"http://{host}:80", f"{host}:9000")
    assert addresses_of(service, speaks_tls=True)[0] == f"https://{host}:80"
